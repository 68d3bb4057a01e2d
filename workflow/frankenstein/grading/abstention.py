"""Detecting abstention, i.e. a text saying that its question cannot be answered; checked before any answer is read."""

from __future__ import annotations

import re

_IMAGE = r"(?:images?|pictures?|figures?|photos?|photographs?|diagrams?|graphs?|charts?|plots?|visuals?|screenshots?|illustrations?|tables?|maps?|attachments?|scenes?)"
_CANNOT = (
    r"(?:(?:can|could|would|do|does|did)(?:\s?not)(?: be able to)?|(?:ca|could|would|do|does|did)n['’]t(?: be able to)?|cannot|(?:am|is|are|was|'m|’m|'re|be)? ?(?:not |un)able to|"
    r"not possible to|impossible to|no (?:way|means|possibility) (?:to|of)|hard to|difficult to|fail(?:s|ed)? to|refuse to|have no way to)"
)
_TELL = (
    r"(?:\w+ly )?(?:be )?(?:determined?|tell|told|say|said|answer(?:ed)?|know(?:n)?|identif(?:y|ied)|verif(?:y|ied)|confirm(?:ed)?|"
    r"cho+se|chosen|pick(?:ed)?|select(?:ed)?|decided?|conclud(?:e|ed)|infer(?:red)?|assess(?:ed)?|analy[sz]ed?|solved?|"
    r"provided? (?:an?|the|any)|given? (?:an?|the|any|you)|make (?:out|a)|made out|discern(?:ed)?|ascertain(?:ed)?|process(?:ed)?|"
    r"helped?|assist(?:ed)?|interpret(?:ed)?|evaluated?|recogni[sz]ed?|establish(?:ed)?|derived?|deduced?|estimated?|"
    r"guess(?:ed)?|find (?:an?|the)|read (?:it|the|any)|understand|figure (?:it )?out|accurately|reliably|respond|complete)\b"
)
# Something cannot be told; the image cannot be seen, is requested, black or missing; information is insufficient.
_UNABLE = [
    rf"{_CANNOT} {_TELL}",
    rf"{_CANNOT} (?:\w+ly )?(?:be )?(?:see[n]?|view(?:ed)?|access(?:ed)?|open(?:ed)?|load(?:ed)?|display(?:ed)?|look at|perceive[d]?|observe[d]?)\b(?! (?:an?|any) (?:\w+ ){{1,2}}in the)",
    rf"{_CANNOT} count\b(?=.*\b{_IMAGE}\b)",
    r"(?:n['’]t|\bnot|\bnever) (?:see|have|receive|find|detect|contain|include|provide|show)\w*(?: access to)? (?:any|an|the|your|enough|sufficient|anything)?\s*"
    rf"(?:\w+ )?(?:{_IMAGE}|information|data|detail|details|context|content|anything)\b",
    rf"\b(?:need|require|would need|have)s? (?:to (?:see|view|have|look at) )?(?:the|an|a|your|more|access to|additional|further) (?:\w+ ){{0,2}}(?:{_IMAGE}|information|details|context|data)\b",
    r"\bplease (?:re-?)?(?:provide|upload|share|attach|send|check|give|supply|describe|include|try)\b",
    r"\bcould you (?:please )?(?:re-?)?(?:provide|upload|share|attach|send|describe)\b",
    rf"\bwithout (?:the|an|any|a|access|seeing|being|viewing|more|additional|further|actual|visual|knowing)\b[^.]{{0,40}}?\b(?:{_IMAGE}|information|details|context|data)\b",
    r"(?:(?:\bnot|n['’]t) (?:enough|sufficient)|\binsufficient|inadequate|no|lack of|lacks?|missing|too little) (?:\w+ )?(?:information|data|context|details?|visual content|content)\b",
    rf"\bno (?:\w+ )?(?:{_IMAGE})\b(?: (?:is|are|was|were|has|have|can|could|to|here|attached|provided|given|visible|shown|available|found|detected|uploaded)\b|\s*[.,;!]|\s*$)",
    rf"\b(?:{_IMAGE})\b[^.,;]{{0,30}}? (?:is|are|was|were|appears?|seems?|looks?|being|comes? out)(?: to be)? (?:\w+ly |just |all |too |a |an |solid |pure |plain )*"
    r"(?:black|blank|empty|dark|missing|unclear|invisible|unavailable|corrupt(?:ed)?|broken|blacked out|not (?:\w+ )?(?:visible|shown|provided|available|clear|attached|there|included|displayed|given|present|legible))\b",
    rf"\b(?:black|blank|empty|dark|missing) (?:\w+ )?(?:{_IMAGE}|screen|canvas)\b",
    r"\b(?:only|just) (?:see |seeing |shows? |contains? )?(?:an? )?(?:\w+ )?(?:black|blank|dark) (?:square|rectangle|box|canvas|screen|background|pixels)\b",
    r"\b(?:is|are|was|were)(?: not|n['’]t) (?:\w+ly )?(?:visible|shown|provided|available|legible|readable|given|specified|discernible|answerable|determinable|possible|clear)\b",
    r"\bno (?:\w+ )?(?:objects?|content|details?|elements?|features?|items?|shapes?|text|information|data|bars?|lines?|labels?|numbers?|points?|people) (?:is|are|can be|could be|to be)? ?(?:visible|seen|shown|visibly|discernible|present|there|identified|detected|in (?:it|the))\b",
    r"\bnothing (?:is |can be |to be |to )?(?:visible|seen|shown|see|there|discernible|in (?:it|the))\b",
    r"\bno (?:\w+ )?(?:answer|conclusion|choice|option|determination|judg[e]?ment) (?:can|could|is|was|may|will)\b",
    rf"\b(?:{_IMAGE}|it)\b (?:only |just )?(?:shows?|contains?|displays?|is|consists of|has) (?:only|just|nothing but|entirely|all) (?:an? )?(?:\w+ )?black\b",
    r"\b(?:it|this|that|the answer|answer) (?:entirely |really |all )?depends on\b",
    r"\b(?:no way of|not in a position to|(?:don['’]t|do not) have (?:the|any) (?:ability|means|way)) (?:to )?\w+",
    r"\b(?:pure|mere|only a|just a|wild|random) guess\b|\brather not guess\b|\bnot (?:want|like|going) to guess\b|\bwould (?:only )?be guessing\b",
    r"\b(?:unanswerable|undeterminable|indeterminable|undetermined|indeterminate|not answerable|inconclusive|not determinable)\b",
    r"\bi (?:do not|don['’]t|dont) know\b|\bi(?:['’]m| am) (?:not sure|unsure|uncertain|unaware)\b|\bi have no idea\b|\bnot (?:sure|certain)\b",
    r"\b(?:i['’]m|i am|we['’]re) (?:\w+ )?sorry\b|^\W*sorry\b|\bi apologi[sz]e\b|\bmy apologies\b|\bas an ai\b",
    r"(?:无法|無法|不能|没法|未能|难以|難以|不足以)(?:从|由|根据|據|通过|準確|准确|直接|明确|[^，。,.]{0,8}?)?(?:判断|確定|确定|看|回答|识别|識別|得出|查看|辨认|辨別|分辨|知道|提供|推断|推斷|给出|計算|计算|解答|获取|访问|完成|作答|得知)",
    r"看不[到见見清出]|没有(?:图|圖|提供|给出|足够|任何|可见)|未(?:提供|给出|显示|上传)|(?:图|圖|画面)[^，。,.]{0,6}?(?:黑|空白|不清|缺失|看不)|不(?:知道|清楚|确定|確定)|抱歉|对不起|對不起|请(?:提供|上传|重新)|請(?:提供|上傳)|信息不足|条件不足|缺少",
]
_UNABLE_RE = re.compile("|".join(f"(?:{pattern})" for pattern in _UNABLE), re.I)
# Abstentions only when they are the entire answer.
_ALONE_RE = re.compile(
    r"(?:the answer is |it is |it's |answer: )?(?:n\s?[/.]?\s?a\.?|not applicable|none|nil|null|unknown|unclear|unsure|uncertain|undetermined|undecidable|indeterminate|"
    r"none of (?:the|these|those|them|the above|the options|the choices|the given \w+|the provided \w+|the listed \w+)(?: (?:above|options|choices|answers|given|listed|provided))?|"
    r"(?:options?|choices?) (?:not|un)available|neither|no answer|no (?:correct|valid|suitable|right|such) (?:answer|option|choice)|no idea|idk|not (?:visible|given|shown|provided|available|sure|known|determinable|possible|clear|enough information|specified|answerable)|"
    r"\?+|[-–—]+|…|\.{2,}|无|無|没有|未知|不详|不确定|以上都不[是对]|都不[是对])",
    re.I,
)
_REASON = re.compile(r"[,;]?\s+(?:since|because|due to|given that|as (?:the|there|it|no|i)\b|seeing that)", re.I)


def unable(text: str) -> bool:
    """Whether a text says anywhere that something cannot be told or seen."""
    return _UNABLE_RE.search(text) is not None


def abstains(text: str) -> bool:
    """Whether an answer is an abstention: "Cannot be determined", "N/A", "None of the above", "The image is black."

    Reasons following an answer are ignored: "0 since the image is black" is an answer, "Unknown, since ..." is not.
    """
    head = _REASON.split(text.strip(), maxsplit=1)[0].strip() or text
    plain = re.sub(r"\\[a-z]+|[${}\\*_`\"“”]", " ", head)
    plain = " ".join(plain.split())
    return unable(plain) or _ALONE_RE.fullmatch(plain.strip(" .!,;:()[]")) is not None
