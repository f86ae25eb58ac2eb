"""A slow, obviously right reading of a bundle's files: what is lawful for one question, rule by rule.

It reads the TOML itself and shares neither parser nor expansion nor table with the product.
"""

import dataclasses
import tomllib
from datetime import date
from typing import Any, Protocol


class Folder(Protocol):
    """A directory of the bundle, on disk or in the package."""

    def joinpath(self, name: str) -> Any: ...


TRADING_STAGES = ("NOTICE", "BIDDING", "REVIEW", "AWARD")
LEVELS_OF_RECORDS = ("MATCH", "HIT", "PUBLIC", "SUMMARY", "PASS_THROUGH", "FULL")


@dataclasses.dataclass(frozen=True)
class Situation:
    """What a caller brings: evidence fields, those whose signed artefact is genuine and covers the question.

    The token allows every purpose and category. `is_self`: the verified identity is the subject's.
    `registered`: the registers bear out every number that was given; else they hold none of them.
    """

    given: frozenset[str] = frozenset()
    genuine: frozenset[str] = frozenset()
    stage: str = ""
    instrument: str = ""
    measure: str = ""
    is_self: bool = False
    subject_is_synthetic: bool = True
    subjects: int = 1
    registered: bool = True


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The level and rule that give, or the code of the denial with rule and condition where there is one."""

    outcome: str
    rule: str = ""
    condition: str = ""


class Interpreter:
    """The files of a bundle and of the national layer, read for one day."""

    def __init__(self, bundle: Folder, national: Folder, day: date) -> None:
        def tables(folder: Folder, file: str, name: str) -> list[dict[str, Any]]:
            path = folder.joinpath(file)
            return tomllib.loads(path.read_text("utf-8")).get(name, []) if path.is_file() else []

        self.day = day
        self.declared_is_enough = tomllib.loads(bundle.joinpath("bundle.toml").read_text("utf-8"))[
            "declared_is_enough"
        ]
        self.callers = [entry["code"] for entry in tables(bundle, "callers.toml", "caller")]
        self.caller_groups = tables(bundle, "callers.toml", "group")
        self.purposes = [entry["code"] for entry in tables(bundle, "purposes.toml", "purpose")]
        self.categories = {e["code"]: e["subjects"] for e in tables(bundle, "categories.toml", "category")}
        self.category_groups = tables(bundle, "categories.toml", "group")
        self.conditions = {e["code"]: e for e in tables(bundle, "conditions.toml", "condition")}
        self.rules = tables(bundle, "rules.toml", "rule")
        self.measures = [entry["code"] for entry in tables(bundle, "measures.toml", "measure")]
        self.red_lines = [
            *tables(national, "red_lines.toml", "red_line"),
            *tables(bundle, "red_lines.toml", "red_line"),
        ]
        self.laws = [
            entry["code"]
            for folder in (national, bundle)
            for entry in tables(folder, "instruments.toml", "instrument")
            if entry["layer"] != "PRODUCT" and self.in_force(entry)
        ]

    def in_force(self, entry: dict[str, Any]) -> bool:
        return bool(entry.get("valid_from", date.min) <= self.day <= entry.get("valid_to", date.max))

    # Who, what and about whom

    def names_caller(self, words: list[str], caller: str) -> bool:
        members = [m for group in self.caller_groups if group["code"] in words for m in group["members"]]
        return caller in words or caller in members

    def names_category(self, words: list[str], kind: str, category: str) -> bool:
        members = [
            member
            for group in self.category_groups
            if group["code"] in words and kind in group["kinds"]
            for member in group["members"]
        ]
        return category in words or category in members

    def exists(self, kind: str, category: str) -> bool:
        return category in self.categories and (kind == "NONE" or kind in self.categories[category])

    def red_line(self, caller: str, purpose: str, kind: str, category: str) -> str:
        for line in self.red_lines:
            if (
                self.in_force(line)
                and kind in line["kinds"]
                and category in self.categories
                and ("*" in line["categories"] or category in line["categories"])
                and ("*" in line["callers"] or self.names_caller(line["callers"], caller))
                and ("*" in line["purposes"] or purpose in line["purposes"])
            ):
                return str(line["id"])
        return ""

    def rule(self, caller: str, purpose: str, kind: str, category: str) -> dict[str, Any] | None:
        giving = [
            rule
            for rule in self.rules
            if rule["purpose"] == purpose
            and rule["status"] == "ACTIVE"
            and self.in_force(rule)
            and kind in rule["kinds"]
            and self.exists(kind, category)
            and self.names_caller(rule["callers"], caller)
            and self.names_category(rule["categories"], kind, category)
        ]
        assert len(giving) <= 1, [rule["id"] for rule in giving]
        return giving[0] if giving else None

    def law_of(self, caller: str, purpose: str, kind: str, category: str) -> str:
        """The red line or rule that decides the cell; "" when nothing gives it."""
        line = self.red_line(caller, purpose, kind, category)
        rule = self.rule(caller, purpose, kind, category)
        return line or (str(rule["id"]) if rule else "")

    # What is answered

    def answer(self, caller: str, purpose: str, kind: str, category: str, situation: Situation) -> Verdict:
        line = self.red_line(caller, purpose, kind, category)
        if line:
            return Verdict("DENY_PROHIBITED", line)
        rule = self.rule(caller, purpose, kind, category)
        if rule is None:
            return Verdict(self.why_no_rule(caller, purpose, kind))
        if rule["level"] not in LEVELS_OF_RECORDS:
            return Verdict("DENY_PURPOSE", rule["id"])
        if "ONE_BY_ONE" in rule["conditions"] and situation.subjects > 1:
            return Verdict("DENY_BULK", rule["id"], "ONE_BY_ONE")
        demanded = [c for c in rule["conditions"] if "condition" in self.conditions[c]["kinds"]]
        for code in demanded:
            denial = self.missing(code, caller, situation)
            if denial:
                return Verdict(denial, rule["id"], code)
        # What was given must also prove genuine, and then stand in its register.
        for code in demanded:
            if not self.genuine(code, caller, situation):
                return Verdict("DENY_NO_AUTHORISATION", rule["id"], code)
        for code in demanded:
            looked_up = self.conditions[code]["proof"] == "register" and code not in self.declared_is_enough
            if looked_up and not situation.registered:
                return Verdict("DENY_EVIDENCE", rule["id"], code)
        return Verdict(rule["level"], rule["id"])

    def why_no_rule(self, caller: str, purpose: str, kind: str) -> str:
        kinds = [
            kind
            for rule in self.rules
            if rule["purpose"] == purpose
            and rule["status"] == "ACTIVE"
            and self.in_force(rule)
            and self.names_caller(rule["callers"], caller)
            for kind in rule["kinds"]
        ]
        if not kinds:
            return "DENY_PURPOSE"
        return "DENY_CATEGORY" if kind in kinds else "DENY_SUBJECT_KIND"

    def missing(self, code: str, caller: str, situation: Situation) -> str:
        """The denial when nothing of what shows the condition was brought; "" when something was."""
        condition = self.conditions[code]
        proof = condition["proof"]
        complete = any(situation.given.issuperset(fields) for fields in condition["evidence"])
        if proof == "token":
            as_agent = caller == "AGENT" and "mandate" in situation.given
            return "" if situation.is_self or as_agent else "DENY_NO_AUTHORISATION"
        if proof == "identifier":
            return "" if situation.subject_is_synthetic else "DENY_PURPOSE"
        if proof == "authorization":
            return "" if complete else "DENY_NO_AUTHORISATION"
        if proof == "catalogue" and ["instrument", "article"] in condition["evidence"]:
            return "" if complete and situation.instrument in self.laws else "DENY_LAW_NAMED"
        if proof == "catalogue":
            return "" if complete and situation.measure in self.measures else "DENY_EVIDENCE"
        if code in ("TENDER", "WINDOW") and situation.stage not in TRADING_STAGES:
            return "DENY_EVIDENCE"
        if code == "STAGE_FINAL" and situation.stage != "FINAL":
            return "DENY_EVIDENCE"
        return "" if complete else "DENY_EVIDENCE"

    def genuine(self, code: str, caller: str, situation: Situation) -> bool:
        """Whether the signed artefacts that show the condition are genuine and cover the question."""
        condition = self.conditions[code]
        if condition["proof"] == "token":
            return situation.is_self or (caller == "AGENT" and "mandate" in situation.genuine)
        if condition["proof"] == "authorization":
            shown = [fields for fields in condition["evidence"] if situation.given.issuperset(fields)]
            return situation.genuine.issuperset(shown[0])
        return True
