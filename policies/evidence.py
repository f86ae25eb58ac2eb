"""What a caller brings to show that its purpose is real: numbers, dates and signed artefacts.

Evidence is checked for form here, and by the rules' conditions for presence; registers and signatures prove
it later. A text that is shaped like the identifier of a subject is refused, because evidence is recorded.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, get_args, get_type_hints

import msgspec

from policies.identifiers import IdentifierError, credit_code, looks_like_identifier


class Stage(StrEnum):
    """Stage of a project in public resource trading; FINAL: of a recruitment."""

    NOTICE = "NOTICE"
    BIDDING = "BIDDING"
    REVIEW = "REVIEW"
    AWARD = "AWARD"
    FINAL = "FINAL"


class Given(msgspec.Struct, frozen=True):
    """How a piece of evidence is called, and the pattern of its text (None: its type is its form)."""

    chinese: str
    english: str
    pattern: str | None = None


_NUMBER = r"[\w\-/.:()（）〔〕\[\]第号]{1,64}"
_CODE = r"[A-Za-z0-9\-_.]{1,64}"
_WORDS = r"[\w \u3000\-/.,:()（）、，。]{1,64}"
_REASON_CODE = r"[0-9]{2}"
_INSTRUMENT = r"[A-Z0-9-]{1,16}"
_MEASURE = r"[A-Z][0-9]{1,2}"
_ARTIFACT = r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"
_EXPECTED = {
    _NUMBER: "1 to 64 letters, digits and signs such as - / . ( ) 〔 〕 are expected, without spaces",
    _CODE: "1 to 64 letters A to Z, digits and the signs - _ . are expected",
    _WORDS: "1 to 64 letters, digits, spaces and usual signs are expected, on one line",
    _REASON_CODE: "two digits are expected",
    _INSTRUMENT: "1 to 16 capital letters, digits and - are expected, as in the list of instruments",
    _MEASURE: "a capital letter and one or two digits are expected, as in the list of measures",
    _ARTIFACT: "a compact JWS (three base64url parts) is expected",
}
"""What a text that does not fit its pattern should have been."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Evidence of an inquiry, or of one subject in it; every field is optional, the rules say which count."""

    matter_code: Annotated[str | None, Given("事项编码", "Power-matter code of the unit", _CODE)] = None
    case_number: Annotated[str | None, Given("案件编号", "Number of the case", _NUMBER)] = None
    commitment_number: Annotated[str | None, Given("承诺编号", "Number of the commitment", _NUMBER)] = None
    inspection_plan_number: Annotated[
        str | None, Given("检查计划编号", "Number of the inspection plan", _NUMBER)
    ] = None
    project_number: Annotated[str | None, Given("项目编号", "Number of the trading project", _NUMBER)] = None
    stage: Annotated[Stage | None, Given("阶段", "Stage of the project or recruitment")] = None
    programme_number: Annotated[
        str | None, Given("计划项目编号", "Number of the fund or programme", _NUMBER)
    ] = None
    award_notice_number: Annotated[
        str | None, Given("评选通知编号", "Number of the award notice", _NUMBER)
    ] = None
    recruitment_notice_number: Annotated[
        str | None, Given("招录公告编号", "Number of the recruitment notice", _NUMBER)
    ] = None
    notified_on: Annotated[date | None, Given("告知日期", "Day on which the person was told")] = None
    notice_form: Annotated[str | None, Given("告知方式", "How the person was told", _WORDS)] = None
    document_type: Annotated[str | None, Given("文书类型", "Type of the basis document", _WORDS)] = None
    document_number: Annotated[str | None, Given("文书号", "Number of the basis document", _NUMBER)] = None
    method_id: Annotated[str | None, Given("评价办法标识", "Published evaluation method", _CODE)] = None
    cycle: Annotated[str | None, Given("评价周期", "Cycle of the evaluation", _CODE)] = None
    objection_number: Annotated[str | None, Given("异议编号", "Number of the objection", _NUMBER)] = None
    repair_number: Annotated[str | None, Given("修复编号", "Number of the repair", _NUMBER)] = None
    record_ids: Annotated[tuple[str, ...] | None, Given("记录标识", "Records at issue", _CODE)] = None
    batch_number: Annotated[str | None, Given("批次号", "Registered aggregation batch", _CODE)] = None
    authorization: Annotated[
        str | None, Given("授权书", "The subject's signed authorization, compact JWS", _ARTIFACT)
    ] = None
    separate_consent: Annotated[
        str | None,
        Given("单独同意书", "Separate consent with warning of bad effects, compact JWS", _ARTIFACT),
    ] = None
    pboc_consent_id: Annotated[str | None, Given("征信授权编号", "Consent kept under PBoC rules", _CODE)] = (
        None
    )
    application_number: Annotated[
        str | None, Given("业务申请编号", "Number of the loan or guarantee application", _NUMBER)
    ] = None
    query_reason_code: Annotated[
        str | None, Given("查询原因代码", "PBoC query reason code, two digits", _REASON_CODE)
    ] = None
    contract_id: Annotated[str | None, Given("合同编号", "Contract in force", _NUMBER)] = None
    audit_order_number: Annotated[str | None, Given("审计令编号", "Number of the audit order", _NUMBER)] = (
        None
    )
    study_number: Annotated[str | None, Given("研究批准编号", "Number of the approved study", _NUMBER)] = None
    minimum_cell: Annotated[int | None, Given("最小单元", "Smallest cell of the statistics")] = None
    instrument: Annotated[
        str | None, Given("法规代码", "Instrument whose article makes the fact relevant", _INSTRUMENT)
    ] = None
    article: Annotated[str | None, Given("条款", "Article of that instrument", _WORDS)] = None
    measure_id: Annotated[str | None, Given("措施编号", "Measure on the list", _MEASURE)] = None
    mandate: Annotated[
        str | None, Given("委托书", "The subject's mandate to its agent, compact JWS", _ARTIFACT)
    ] = None
    approval_id: Annotated[str | None, Given("审批编号", "Second officer's approval", _CODE)] = None
    role: Annotated[str | None, Given("角色", "Role in the bid or organisation", _WORDS)] = None
    organisation_code: Annotated[
        str | None, Given("机构代码", "Credit code of the organisation in which the role is held")
    ] = None
    register_number: Annotated[
        str | None, Given("执业登记号", "Number in the practitioner register", _NUMBER)
    ] = None

    def over(self, inquiry: "Evidence") -> "Evidence":
        """This subject's own evidence, completed by that of the inquiry."""
        own = msgspec.structs.asdict(self)
        return msgspec.structs.replace(
            inquiry, **{name: value for name, value in own.items() if value is not None}
        )


ARTIFACTS = ("authorization", "separate_consent", "mandate")
MAX_ARTIFACT = 8192
MAX_RECORD_IDS = 100


class EvidenceField(msgspec.Struct, frozen=True):
    """One field of evidence: its name, Python type and how it is given."""

    name: str
    type: Any
    given: Given


def _fields() -> Iterator[EvidenceField]:
    hints = get_type_hints(Evidence, include_extras=True)
    for name in Evidence.__struct_fields__:
        python_type, given = get_args(hints[name])
        yield EvidenceField(name, python_type, given)


def camel_case(name: str) -> str:
    """A field's name as callers write it: `project_number` is `projectNumber`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


EVIDENCE_FIELDS = tuple(_fields())


class EvidenceError(ValueError):
    """Evidence in the wrong form; names the field (snake case) and the reason, never the value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def check_form(evidence: Evidence, today: date) -> None:
    """Refuse evidence in the wrong form: `EvidenceError` for the first field that is."""
    for field in EVIDENCE_FIELDS:
        value = getattr(evidence, field.name)
        if value is None:
            continue
        texts = value if isinstance(value, tuple) else (value,)
        for text in texts:
            if isinstance(text, str) and field.given.pattern:
                _check_text(field.name, text, field.given.pattern)
    if evidence.record_ids is not None and not 1 <= len(evidence.record_ids) <= MAX_RECORD_IDS:
        raise EvidenceError("record_ids", f"from 1 to {MAX_RECORD_IDS} records are expected")
    if evidence.notified_on is not None and evidence.notified_on > today:
        raise EvidenceError("notified_on", "the day of the notice lies in the future")
    if evidence.minimum_cell is not None and evidence.minimum_cell < 1:
        raise EvidenceError("minimum_cell", "the smallest cell is a positive number")
    if evidence.organisation_code is not None:
        try:
            credit_code(evidence.organisation_code, field="organisation_code")
        except IdentifierError as error:
            raise EvidenceError("organisation_code", error.reason) from None


def _check_text(name: str, text: str, pattern: str) -> None:
    artefact = name in ARTIFACTS
    if artefact and len(text) > MAX_ARTIFACT:
        raise EvidenceError(name, f"longer than {MAX_ARTIFACT} characters")
    if not re.fullmatch(pattern, text):
        raise EvidenceError(name, _EXPECTED[pattern])
    if artefact:
        return
    if not any(character.isalnum() for character in text):
        raise EvidenceError(name, "holds no letter and no digit")
    if looks_like_identifier(_plain_digits(text)):
        raise EvidenceError(name, "looks like the identifier of a subject, which does not belong here")


def _plain_digits(text: str) -> str:
    """The text with the digits of every script as 0 to 9: an identifier in other digits is still one."""
    return "".join(str(unicodedata.digit(character, character)) for character in text)
