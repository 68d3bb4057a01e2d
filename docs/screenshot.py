"""docs/outputs.md's picture: an example in a study's report. `python docs/screenshot.py results/mini/report.html docs/images/examples.png`"""

import base64
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "workflow"))
from browser import Browser

page, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
    browser.resize(1280, 800)
    browser.open(f"{page.as_uri()}#examples?task=recognition")
    browser.wait("document.querySelector('#examples ol a') !== null")
    browser.evaluate("document.querySelector('#examples ol a').click()")
    browser.wait("document.querySelector('#examples article img')?.naturalWidth > 0")
    box = browser.evaluate(
        "(() => { const r = document.querySelector('#examples').getBoundingClientRect();"
        " return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: 900, scale: 1}; })()"
    )
    made = browser.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=box)
    out.write_bytes(base64.b64decode(made["data"]))
