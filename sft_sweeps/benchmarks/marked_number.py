r"""The number that a text gives as its answer: marked by `####`, `\boxed{}` or "the answer is", else its last one.

A marker's line is often a calculation ("The answer is 16 - 7 = 9 eggs"): its value is then what follows the last `=`.
Nothing here is quadratic in a text's length.
"""

import re
from collections.abc import Iterator
from decimal import Decimal, DecimalException

from sft_sweeps.benchmarks.answer_text import without_reasoning, without_tokens

_DIGITS = 40  # beyond which a number is none: no answer is, and arithmetic on a megabyte of digits is an attack

_STOPS = re.compile(r"USER:|</s>")
# Where a model goes on with another question of its own; it may as well repeat the one asked.
_NEXT = re.compile(r"(?i)\n[*#\s]{0,20}(?:question|q|problem|human|user|instruction|input)\b[*\s]{0,20}:")
_HASHES = re.compile(r"####\s*")
_ANSWER = re.compile(r"(?i)\b(?:final\s+)?answer[\s*_]*+(?:is\b|[:=：])[\s*_]*+:?\s*")
_BRACES = re.compile(r"\\boxed\s*+\{|\\[{}]|[{}]")
_EQUALS = re.compile(r"=|≈|→|⇒|\\(?:approx|to|rightarrow|implies)\b|(?i:\bequals\b)")
_OPERATION = re.compile(
    r"\s{0,9}(?:[-+*/×÷·−–]|\*\*|\\times|\\cdot|\\div|[xX](?=\s)|times\b|plus\b|minus\b)\s{0,9}\$?\d[\d,.]*+"
)
_REASON = re.compile(r"(?i)[^=]*?(?:\bbecause\b|\bsince\b)")
_BRACKET = re.compile(r"\([^()\n]*\)")
# TeX that stands for plain characters.
_TEX = (
    (re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!])(?=\d)"), ","),
    (re.compile(r"\\[dt]?frac\s*+\{\s*+([\d,.]++)\s*+\}\s*+\{\s*+([\d,.]++)\s*+\}"), r"\1/\2"),
    (re.compile(r"\\[dt]?frac\s{0,9}(\d)\s{0,9}(\d)"), r"\1/\2"),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"(?<=\d)[\u00a0\u2009\u202f'’_](?=\d{3}(?!\d))"), ","),
    (re.compile(r"(?i)(?<!\d\s)\b(?:negative|minus)\s(?=\$?\d)"), "-"),
    (re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])"), " "),
)
_VULGAR = {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5"}
# No digit run is entered in its middle and each is read once, so that a megabyte of digits costs one pass. A number may
# follow emphasis (`_18_`), an abbreviation's full stop (Rs.18) and letters of scripts that write no space before it.
_NUMBER = re.compile(
    r"(?<![A-Za-z\d])(?<![A-Za-z\d]_)(?<!\d\.)"
    r"(?P<open>\(?)(?P<sign>[-−–]?)\s?\$?\s?(?P<number>\d[\d,]*+(?:\.\d++)?|(?<!\.)\.\d++)"
    r"(?P<exponent>[eE][-+]?\d++)?(?:(?:\s(?P<more>\d++))?\s?/\s?(?P<divisor>\d++))?"
)


def extract(completion: str) -> Decimal | None:
    """The answer's number; None where it has none."""
    text = completion[: stop.start()] if (stop := _STOPS.search(completion)) else completion
    text = without_tokens(without_reasoning(text)) or text
    for pattern, plain in _TEX:
        text = pattern.sub(plain, text)
    for vulgar, plain in _VULGAR.items():
        text = text.replace(vulgar, plain)
    if (following := _NEXT.search(text)) and (number := _marked(text[: following.start()])) is not None:
        return number
    return number if (number := _marked(text)) is not None else _last(text)


def _marked(text: str) -> Decimal | None:
    """Of the first kind of marker that yields one."""
    for candidates in (_after_hashes(text), _boxed(text), _after_answer(text)):
        number = next((number for number in candidates if number is not None), None)
        if number is not None:
            return number
    return None


def _after_hashes(text: str) -> Iterator[Decimal | None]:
    """Of the first marker on."""
    for start, end in _segments(_HASHES, text):
        yield _of_line(text[start:end].partition("\n")[0])


def _after_answer(text: str) -> Iterator[Decimal | None]:
    """Of the last marker back."""
    for start, end in reversed(_segments(_ANSWER, text)):
        yield _of_paragraph(text[start:end])


def _segments(marker: "re.Pattern[str]", text: str) -> list[tuple[int, int]]:
    """What follows each marker, up to the next one."""
    heads = list(marker.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [(head.end(), end) for head, end in zip(heads, ends, strict=False)]


def _boxed(text: str) -> Iterator[Decimal | None]:
    r"""Of every `\boxed{...}` with balanced braces, the outermost ones, from the last back."""
    opened: list[tuple[bool, int]] = []
    boxes: list[tuple[int, int]] = []
    for brace in _BRACES.finditer(text):
        if brace[0] == "}" and opened:
            is_box, start = opened.pop()
            while is_box and boxes and boxes[-1][0] > start:
                boxes.pop()
            boxes += [(start, brace.start())] if is_box else []
        elif brace[0].endswith("{") and brace[0] != "\\{":
            opened.append((brace[0] != "{", brace.end()))
    for start, end in reversed(boxes):
        yield _of_line(text[start:end])


def _of_paragraph(text: str) -> Decimal | None:
    """The value of the marker's line, or of its paragraph's last line where the marker heads a whole calculation."""
    line, *lines = text.partition("\n\n")[0].split("\n")
    if _states_first(line) or not any(_EQUALS.search(later) and _NUMBER.search(later) for later in lines):
        return _of_line(line)
    return next((number for later in reversed(lines) if (number := _of_line(later)) is not None), None)


def _states_first(line: str) -> bool:
    """Whether the line begins with its number and the reason follows, or nothing calculated at all."""
    number = _NUMBER.search(line)
    if number is None:
        return False
    if any(character.isalpha() for character in line[: number.start()]):
        return False
    rest = line[number.end() :]
    if _OPERATION.match(rest) and not _EQUALS.search(rest):
        return False
    return bool(_REASON.match(rest)) or not _EQUALS.search(_BRACKET.sub("", rest))


def _of_line(line: str) -> Decimal | None:
    """A line's value: what it begins with, or what follows its last `=`, else its first number."""
    if _states_first(line):
        return value(line)
    first, *parts = _EQUALS.split(_without_checks(line))
    found = [(part, number) for part in reversed(parts) if (number := value(part)) is not None]
    found += [(first, number)] if found and (number := value(first)) is not None else []
    plain = (number for part, number in found if not _calculation_end(part))
    number = next(plain, found[0][1] if found else None)
    if number is None:  # "9 * 2, which is 18"
        number = value(line[_calculation_end(line) :])
    return value(line) if number is None else number


def _without_checks(line: str) -> str:
    """The line without calculations in brackets, where it has one outside of them: those explain."""
    plain = _BRACKET.sub(lambda bracket: "" if "=" in bracket[0] else bracket[0], line)
    return plain if _EQUALS.search(plain) else line


def _calculation_end(text: str) -> int:
    """Where a calculation ends that a text's first number begins; 0 where it begins none."""
    number = _NUMBER.search(text)
    end = 0
    while number and (operation := _OPERATION.match(text, end or number.end())):
        end = operation.end()
    return end


def _last(text: str) -> Decimal | None:
    last = None
    for match in _NUMBER.finditer(text):
        last = match
    return None if last is None else _number(last)


def value(text: str) -> Decimal | None:
    """The first number in a text, as a value."""
    match = _NUMBER.search(text)
    return None if match is None else _number(match)


def _number(match: "re.Match[str]") -> Decimal | None:
    number, exponent, divisor = match["number"].replace(",", ""), match["exponent"] or "", match["divisor"] or "1"
    more = match["more"] or ""
    if max(len(number), len(divisor), len(more)) > _DIGITS or len(exponent) > 6:
        return None
    try:
        value = Decimal(f"{number}{exponent}")
        value = value + Decimal(more) / Decimal(divisor) if more else value / Decimal(divisor)
        return -value if match["sign"] else value
    except DecimalException:  # a division by zero, or beyond every exponent
        return None
