"""The subjects of the bench: what the upstream holds of each, and the questions with the answers they must get.

Subjects are synthetic (division 99). A record is written with the names of the product's schema, so that an
answer can be compared with it as it is, and so that no peer has to rename anything.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec

from connectors.sandbox.identifiers import credit_code
from connectors.sandbox.issuer import PERSONAS

SUBJECTS = 10_000
UNIT = PERSONAS["market-regulation-bureau"]
METHOD = "BENCH-METHOD"
CYCLE = "2026"
PAGE = 100
"""The most records of a section that a page shows."""

Records = list[dict[str, Any]]


class Section(msgspec.Struct, frozen=True):
    """A section that the upstream holds: its category, the fields that are asked, and whether it is one record."""

    category: str
    fields: tuple[str, ...]
    single: bool = False


SECTIONS: Mapping[str, Section] = {
    "registration": Section(
        "REG_ORG",
        (
            "recordId", "name", "creditCode", "legalForm", "status", "registeredOn", "capital",
            "businessScope", "province", "city", "registrar",
        ),
        single=True,
    ),
    "licences": Section(
        "LICENCE",
        (
            "recordId", "licenceNumber", "documentNumber", "kind", "content", "decidedOn", "validFrom",
            "validUntil", "authority", "status",
        ),
    ),
    "penalties": Section(
        "PENALTY",
        (
            "recordId", "documentNumber", "kind", "authority", "legalBasis", "content", "severity",
            "basisKind", "decidedOn", "publicUntil",
        ),
    ),
    "abnormalOperations": Section(
        "ABNORMAL", ("recordId", "listName", "listedOn", "reason", "documentNumber", "authority")
    ),
}  # fmt: skip
"""By the name of the field in the schema; one source and one call each."""


class Question(msgspec.Struct, frozen=True):
    """A request: the body to send, the data that must come, and how many sections of it have records."""

    body: bytes
    data: Any
    sections: int
    subjects: int


class World:
    """`subjects` synthetic subjects, each with so many `penalties`; records are dated relative to `today`."""

    def __init__(self, today: date, *, subjects: int = SUBJECTS, penalties: int = 4) -> None:
        self.today = today
        self.penalties = penalties
        self.codes = tuple(credit_code("91", "990100", f"FAKE{number:04}") for number in range(subjects))

    def records(self, section: str, place: int) -> Records:
        """What the upstream holds of a section of the subject at this place."""
        made = _MAKERS[section](self, place)
        return [_LIFECYCLE | record | {"recordId": f"{section}-{place}-{n}"} for n, record in enumerate(made)]

    def answer(self, section: str, place: int, fields: Sequence[str]) -> dict[str, Any]:
        """The section as a right answer shows it."""
        shown = [{name: record[name] for name in fields} for record in self.records(section, place)]
        if SECTIONS[section].single:
            return {"state": "HAS", "record": shown[0]}
        return {"state": "HAS", "records": {"totalCount": len(shown), "nodes": shown[:PAGE]}}

    def _registration(self, place: int) -> Records:
        return [
            {
                "name": f"虚构省示例{place}号建设有限公司",
                "creditCode": self.codes[place],
                "legalForm": "有限责任公司（自然人投资或控股）",
                "status": "存续（在营、开业、在册）",
                "registeredOn": self._day(-4000 - place % 900),
                "capital": f"{place % 90 + 10}00万元人民币",
                "businessScope": "建筑工程施工；市政设施管理；园林绿化工程施工；建筑材料销售；技术服务、技术咨询",
                "province": "虚构省",
                "city": "示例市",
                "registrar": "示例市市场监督管理局",
            }
        ]

    def _licences(self, place: int) -> Records:
        return [
            {
                "licenceNumber": f"示建许字{place:05}第{n}号",
                "documentNumber": f"示建许决〔2025〕{place}-{n}号",
                "kind": "普通",
                "content": "准予从事建筑工程施工总承包（三级）及相关配套工程的设计与施工活动",
                "decidedOn": self._day(-400 - n),
                "validFrom": self._day(-400 - n),
                "validUntil": self._day(700 + n),
                "authority": "示例市住房和城乡建设局",
                "status": "有效",
            }
            for n in range(3)
        ]

    def _penalties(self, place: int) -> Records:
        return [
            {
                "documentNumber": f"示市监处罚〔2026〕{place}-{n}号",
                "kind": "罚款",
                "authority": "示例市市场监督管理局",
                "legalBasis": "《中华人民共和国产品质量法》第四十九条",
                "content": f"责令停止违法行为；处以罚款人民币{n % 9 + 1}000元",
                "severity": "GENERAL",
                "basisKind": "ADMINISTRATIVE_DECISION",
                "decidedOn": self._day(-60 - n % 20),
                "publicFrom": self._day(-50),
                "publicUntil": self._day(200),
            }
            for n in range(self.penalties)
        ]

    def _abnormal(self, place: int) -> Records:
        return [
            {
                "listName": "经营异常名录",
                "listedOn": self._day(-100 - n),
                "reason": "通过登记的住所或者经营场所无法联系的",
                "documentNumber": f"示市监列〔2026〕{place}-{n}号",
                "authority": "示例市市场监督管理局",
            }
            for n in range(2)
        ]

    def _day(self, days: int) -> str:
        return (self.today + timedelta(days=days)).isoformat()

    # Questions ---------------------------------------------------------------------------------------------

    def one(self, places: Iterable[int], *, register: bool = False) -> list[Question]:
        """One subject a question; with `register`, for a purpose whose evidence a register has to prove."""
        return [
            self._question(
                _DOCUMENTS[register], {"id": _id(self.codes[place])}, {"subject": self._all(place)}
            )
            for place in places
        ]

    def listed(self, groups: Iterable[Sequence[int]]) -> list[Question]:
        """Several subjects a question, as a list."""
        document = f"query($of: [SubjectRef!]!) {{ {_REGISTERED} {{ subjects(of: $of) {{ {_ALL} }} }} }}"
        return [
            self._question(
                document,
                {"of": [{"id": _id(self.codes[place])} for place in group]},
                {"subjects": [self._all(place) for place in group]},
            )
            for group in groups
        ]

    def aliased(self, groups: Iterable[Sequence[int]]) -> list[Question]:
        """Several subjects a question, each under an alias; all groups are as long as the first."""
        return [self._aliased(group) for group in groups]

    def _aliased(self, group: Sequence[int]) -> Question:
        names = [f"s{number}" for number in range(len(group))]
        declared = ", ".join(f"${name}: SubjectId!" for name in names)
        asked = " ".join(f"{name}: subject(id: ${name}) {{ ...all }}" for name in names)
        document = (
            f"query({declared}) {{ {_REGISTERED} {{ {asked} }} }} "
            f"fragment all on OperatingSubject {{ {' '.join(map(_selection, SECTIONS))} }}"
        )
        variables = {name: _id(self.codes[place]) for name, place in zip(names, group, strict=True)}
        data = {name: self._all(place) for name, place in zip(names, group, strict=True)}
        return self._question(document, variables, data)

    def mixed(self, number: int, *, documents: int = 200, seed: int = 5) -> list[Question]:
        """Questions over so many different documents; subjects and documents are drawn by Zipf's law."""
        chance = random.Random(seed)
        forms = [_form(chance) for _ in range(documents)]
        places = chance.choices(range(len(self.codes)), _by_rank(len(self.codes)), k=number)
        drawn = chance.choices(forms, _by_rank(documents), k=number)
        return [self._formed(form, place) for form, place in zip(drawn, places, strict=True)]

    def _formed(self, form: Mapping[str, Sequence[str]], place: int) -> Question:
        selections = " ".join(_selection(name, fields) for name, fields in form.items())
        document = f"query($id: SubjectId!) {{ {_OPEN} {{ subject(id: $id) {{ ... on OperatingSubject {{ {selections} }} }} }} }}"
        data = {"subject": {name: self.answer(name, place, fields) for name, fields in form.items()}}
        return self._question(document, {"id": _id(self.codes[place])}, data)

    def _all(self, place: int) -> dict[str, Any]:
        return {name: self.answer(name, place, section.fields) for name, section in SECTIONS.items()}

    def _question(self, document: str, variables: Mapping[str, Any], lookups: Mapping[str, Any]) -> Question:
        subjects = [
            each for found in lookups.values() for each in (found if isinstance(found, list) else [found])
        ]
        return Question(
            msgspec.json.encode({"query": document, "variables": variables}),
            {"inquiry": lookups},
            sum(map(len, subjects)),
            len(subjects),
        )


def same(data: Any, expected: Any) -> bool:
    """Whether the answer is the expected one; the order of records is the answerer's own."""
    return bool(_ordered(data) == _ordered(expected))


def difference(data: Any, expected: Any, place: str = "data") -> str:
    """Where an answer first differs from the expected one, and how; empty when it does not."""
    return _difference(_ordered(data), _ordered(expected), place)


def _difference(data: Any, expected: Any, place: str) -> str:
    match data, expected:
        case dict(), dict() if data.keys() == expected.keys():
            return next(filter(None, (_difference(data[k], expected[k], f"{place}.{k}") for k in data)), "")
        case list(), list() if len(data) == len(expected):
            pairs = enumerate(zip(data, expected, strict=True))
            return next(filter(None, (_difference(a, b, f"{place}[{n}]") for n, (a, b) in pairs)), "")
    return "" if data == expected else f"{place}: {str(data)[:200]} where {str(expected)[:200]} is held"


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(item) for name, item in value.items()}
    if isinstance(value, list):
        items = [_ordered(item) for item in value]
        return sorted(items, key=_record_id) if all(map(_record_id, items)) else items
    return value


def _record_id(item: Any) -> str:
    return str(item.get("recordId", "")) if isinstance(item, dict) else ""


_LIFECYCLE = {"provider": "示例公共信用信息中心", "repairedOn": None, "withdrawnOn": None, "publicFrom": None, "publicUntil": None}  # fmt: skip

_MAKERS: Mapping[str, Any] = {
    "registration": World._registration,
    "licences": World._licences,
    "penalties": World._penalties,
    "abnormalOperations": World._abnormal,
}


def _id(code: str) -> dict[str, str]:
    return {"creditCode": code}


def _selection(name: str, fields: Sequence[str] | None = None) -> str:
    section = SECTIONS[name]
    chosen = " ".join(fields or section.fields)
    if section.single:
        return f"{name} {{ state record {{ {chosen} }} }}"
    return f"{name} {{ state records(first: {PAGE}) {{ totalCount nodes {{ {chosen} }} }} }}"


def _by_rank(number: int) -> list[float]:
    return [1 / rank for rank in range(1, number + 1)]


def _form(chance: random.Random) -> dict[str, Sequence[str]]:
    names = sorted(chance.sample(sorted(SECTIONS), chance.randint(1, len(SECTIONS))))
    return {name: _some(SECTIONS[name].fields, chance) for name in names}


def _some(fields: Sequence[str], chance: random.Random) -> tuple[str, ...]:
    identifier, *others = fields
    return (identifier, *chance.sample(others, chance.randint(2, len(others))))


_OPEN = "inquiry(purpose: PUBLIC_VIEW)"
_REGISTERED = f'inquiry(purpose: EVALUATION_RUN, evidence: {{methodId: "{METHOD}", cycle: "{CYCLE}"}})'
_ALL = f"... on OperatingSubject {{ {' '.join(map(_selection, SECTIONS))} }}"
_DOCUMENTS = {
    register: f"query($id: SubjectId!) {{ {inquiry} {{ subject(id: $id) {{ {_ALL} }} }} }}"
    for register, inquiry in ((False, _OPEN), (True, _REGISTERED))
}
