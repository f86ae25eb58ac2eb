"""What a decision can say: the outcomes of the vocabulary with their sentences.

The codes are stable; clients and the ledger hold them.
"""

from enum import StrEnum

import msgspec

from policies.bundle import Basis


class Outcome(StrEnum):
    """Outcome of a decision about one category of one subject."""

    PERMIT = "PERMIT"
    PERMIT_REDUCED = "PERMIT_REDUCED"
    PERMIT_MASKED = "PERMIT_MASKED"
    PERMIT_MARKED = "PERMIT_MARKED"
    DENY_PURPOSE = "DENY_PURPOSE"
    DENY_EVIDENCE = "DENY_EVIDENCE"
    DENY_NOT_DEPARTMENT_MATTER = "DENY_NOT_DEPARTMENT_MATTER"
    DENY_CATEGORY = "DENY_CATEGORY"
    DENY_SUBJECT_KIND = "DENY_SUBJECT_KIND"
    DENY_NO_AUTHORISATION = "DENY_NO_AUTHORISATION"
    DENY_NO_AUTHORISATION_EXPIRED = "DENY_NO_AUTHORISATION_EXPIRED"
    DENY_NO_AUTHORISATION_REVOKED = "DENY_NO_AUTHORISATION_REVOKED"
    DENY_NO_AUTHORISATION_SCOPE = "DENY_NO_AUTHORISATION_SCOPE"
    DENY_JURISDICTION = "DENY_JURISDICTION"
    DENY_TIME = "DENY_TIME"
    DENY_REPAIRED = "DENY_REPAIRED"
    DENY_PROHIBITED = "DENY_PROHIBITED"
    DENY_BULK = "DENY_BULK"
    DENY_LAW_NAMED = "DENY_LAW_NAMED"
    DENY_MEASURE = "DENY_MEASURE"
    """The measure is not on the list, or not within the caller's powers."""
    DENY_DEGREE = "DENY_DEGREE"
    """The measure goes beyond the degree of the records."""
    DENY_REPEATED = "DENY_REPEATED"
    DENY_OBLIGATION = "DENY_OBLIGATION"
    """An obligation of the rule could not be discharged."""


SENTENCES: dict[Outcome, str] = {
    Outcome.PERMIT: "允许 The rule gives what is asked.",
    Outcome.PERMIT_REDUCED: "降级允许 The rule gives a lower level than asked.",
    Outcome.PERMIT_MASKED: "脱敏允许 A field is masked for this caller.",
    Outcome.PERMIT_MARKED: "标注允许 A record is contested and carries its mark.",
    Outcome.DENY_PURPOSE: "目的不适用 This purpose does not give this caller the information.",
    Outcome.DENY_EVIDENCE: "缺少依据材料 Evidence that the rule demands is missing or not proven.",
    Outcome.DENY_NOT_DEPARTMENT_MATTER: "非本部门事项 The matter or the subject belongs to another unit.",
    Outcome.DENY_CATEGORY: "类别不在范围 The category is not within what this purpose needs.",
    Outcome.DENY_SUBJECT_KIND: "主体类型不符 The purpose does not reach this kind of subject.",
    Outcome.DENY_NO_AUTHORISATION: "无授权 The subject's authorization is missing or not genuine.",
    Outcome.DENY_NO_AUTHORISATION_EXPIRED: "授权过期 The authorization is outside its period.",
    Outcome.DENY_NO_AUTHORISATION_REVOKED: "授权撤回 The subject has withdrawn the authorization.",
    Outcome.DENY_NO_AUTHORISATION_SCOPE: (
        "超出授权范围 The authorization is for another subject, grantee, purpose or category."
    ),
    Outcome.DENY_JURISDICTION: "超出辖区 The unit is a department of another province.",
    Outcome.DENY_TIME: "超出公示或查询期限 The record is outside its publication period or inquiry limit.",
    Outcome.DENY_REPAIRED: "已修复 The record was repaired or withdrawn.",
    Outcome.DENY_PROHIBITED: "禁止 The law forbids this information to be given.",
    Outcome.DENY_BULK: "批量查询受限 More subjects are asked for than may be at once or in a day.",
    Outcome.DENY_LAW_NAMED: "缺少法定依据 An article that makes the fact relevant must be named.",
    Outcome.DENY_MEASURE: "措施不在清单 The measure is not on the list of measures, or not this caller's to take.",
    Outcome.DENY_DEGREE: "超出失信程度 The measure goes beyond the degree of what the inquiry gave.",
    Outcome.DENY_REPEATED: "已记录 The measure is already recorded on this inquiry about this subject.",
    Outcome.DENY_OBLIGATION: "义务未履行 An obligation of the rule could not be discharged.",
}


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal about one category of one subject: why, on which basis, and what would make it lawful.

    It follows from the question alone and so never tells whether the subject exists.
    """

    code: Outcome
    basis: tuple[Basis, ...]
    remedy: str
    rule: str | None = None
    condition: str | None = None

    @property
    def message(self) -> str:
        """The outcome in a sentence, Chinese term first."""
        return SENTENCES[self.code]
