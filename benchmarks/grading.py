"""Agreement of the graders with careful humans or the benchmark itself, measured on publicly available files.

    python benchmarks/grading.py --data ../shared/data

DATA contains grading/cases.jsonl (task, response, gold fields, expected), grading/refusals.jsonl (response),
mathvista/*responses*.json (a system's responses with MathVista's own extraction and verdict, as published by
lupantech/MathVista) and gsm8k/test.jsonl; missing files are skipped. Without --data, uses the cases and refusals of the
tests. The last line is a JSON object.
"""

import argparse
import json
from pathlib import Path

from frankenstein.core import jsonl
from frankenstein.grading import graders, records
from frankenstein.grading.outcome import ABSTAINED, RIGHT, UNGRADED, Grade

TESTS = Path(__file__).parent.parent / "tests"
# Gold answers that a refusal might be mistaken for, for every kind of task.
GOLDS = [
    *(("mathvista", {"question_type": "multi_choice", "answer_type": "text", "choices": choices, "answer": choice})
      for choices in (["5 cm", "6 cm", "7 cm", "8 cm"], ["Yes", "No"], ["A", "B", "C", "D"], ["red", "black"], ["0", "1", "2", "3"])
      for choice in choices),
    *(("mathvista", {"question_type": "free_form", "answer_type": "integer", "answer": str(answer)}) for answer in (0, 1, 2, 3, 4, 5, 2010)),
    *(("logicvista", {"answer": answer}) for answer in "ABCDE"),
    *(("mathverse", {"question_type": "multi-choice", "answer": answer}) for answer in "ABCD"),
    *(("mathvision", {"options": list("12345"), "answer": answer}) for answer in "ABCDE"),
    *(("gsm8k", {"answer": f"#### {answer}"}) for answer in (0, 1, 2, 3)),
    *(("math500", {"answer": answer}) for answer in ("0", "3", r"\text{No}", r"\text{(D)}")),
]  # fmt: skip


def refusals(path: Path) -> tuple[int, int]:
    """(number of refusals graded right for some gold answer, number of refusals)."""
    responses = [record["response"] for _, record in jsonl.read(path)]

    def right(response: str) -> bool:
        made = [graders.grade(task, {"response": response, **gold}) for task, gold in GOLDS]
        return any(not isinstance(grade, Grade) or grade.verdict == RIGHT for grade in made)

    return sum(map(right, responses)), len(responses)


def mathvista(path: Path) -> dict:
    """Agreement with MathVista's own verdicts, from its extraction and, for responses that answer, from the raw response."""
    rows = [{"id": key, **row} for key, row in json.loads(path.read_text()).items() if "true_false" in row]

    def agreement(pairs):
        return sum((grade.verdict == RIGHT) == row["true_false"] for grade, row in pairs) / max(1, len(pairs))

    given = list(zip(graders.grade_all("mathvista", rows, use_extraction=True), rows, strict=True))
    raw = list(zip(graders.grade_all("mathvista", rows), rows, strict=True))
    # Answered: neither our grader nor the official one considers it a refusal.
    readable = [{**row, "response": str(row["extraction"])} for row in rows]
    official = graders.grade_all("mathvista", readable)
    answered = [
        pair
        for pair, read in zip(raw, official, strict=True)
        if pair[0].verdict != ABSTAINED and read.verdict != ABSTAINED
    ]
    graded = [(grade, row) for grade, row in answered if grade.verdict != UNGRADED]
    return {
        "rows": len(rows),
        "given_extraction": agreement(given),
        "raw": agreement(raw),
        "answered": len(answered),
        "answered_graded": len(graded) / max(1, len(answered)),
        "answered_graded_agreement": agreement(graded),
    }


def gsm8k(path: Path) -> float:
    """Share of the published solutions, each with four endings, that are graded right for their own answer."""
    made = []
    rows = [row for _, row in jsonl.read(path)]
    for ending in ("\nA: {}", "\n#### {}", " The answer is {}.", "\n\\boxed{{{}}}"):
        answered = []
        for number, row in enumerate(rows):
            steps, _, answer = row["answer"].partition("\n#### ")
            answered.append({"id": number, "response": steps + ending.format(answer), "answer": row["answer"]})
        made += graders.grade_all("gsm8k", answered)
    return sum(grade.verdict == RIGHT for grade in made) / len(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="data folder (see above)")
    data = parser.parse_args().data
    found = {}
    own = {"cases.jsonl": "grading_cases.jsonl", "refusals.jsonl": "refusals.jsonl"}
    sources = [("tests", {name: TESTS / "data" / file for name, file in own.items()})]
    if data:
        sources.append((str(data), {name: data / "grading" / name for name in own}))
    for where, files in sources:
        if files["cases.jsonl"].exists():
            lines, _ = records.check(files["cases.jsonl"])
            print(f"cases of {where}: {lines[-1]}")
            found[f"cases {where}"] = lines[-1]
        if files["refusals.jsonl"].exists():
            right, count = refusals(files["refusals.jsonl"])
            print(f"refusals of {where}: {right} of {count} graded right for any of {len(GOLDS)} gold answers")
            found[f"refusals right {where}"] = right
    for path in sorted((data / "mathvista").glob("*responses*.json")) if data else []:
        figures = mathvista(path)
        found[path.name] = figures
        print(
            f"{path.name}: agreement with MathVista's verdicts on {figures['rows']} rows: {figures['given_extraction']:.2%} given its "
            f"extraction, {figures['raw']:.2%} from the raw response; {figures['answered_graded']:.2%} of "
            f"{figures['answered']} answered rows graded, {figures['answered_graded_agreement']:.2%} of these in agreement"
        )
    if data and (data / "gsm8k" / "test.jsonl").exists():
        found["gsm8k"] = gsm8k(data / "gsm8k" / "test.jsonl")
        print(f"gsm8k: {found['gsm8k']:.2%} of the published solutions (with four endings) graded right")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
