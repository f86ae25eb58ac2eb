"""The rules of a bundle as Cedar policies: another language, another engine, no code of the product.

A rule becomes a `permit`, a red line a `forbid`. Groups stay groups: Cedar resolves them through the parents of
its entities. What a caller brings stands in the context of the request.
"""

import json
import tomllib
from collections.abc import Iterable
from datetime import date
from typing import Any

KINDS = ("ORG", "IND", "NP", "GOV", "NONE")


class CedarExport:
    """Policies and entities of one bundle on one day."""

    def __init__(self, bundle: Any, national: Any, day: date) -> None:
        self._day = day
        self.files = {
            f"{layer}/{path.name}": tomllib.loads(path.read_text("utf-8"))
            for layer, folder in (("province", bundle), ("nation", national))
            for path in folder.iterdir()
            if path.name.endswith(".toml")
        }

    def _all(self, file: str, table: str) -> list[dict[str, Any]]:
        layers = (f"nation/{file}.toml", f"province/{file}.toml")
        return [entry for layer in layers for entry in self.files.get(layer, {}).get(table, [])]

    def _today(self, entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            entry
            for entry in entries
            if ("valid_from" not in entry or entry["valid_from"] <= self._day)
            and ("valid_to" not in entry or self._day <= entry["valid_to"])
        ]

    def entities(self) -> str:
        """Callers in their groups; each record that exists, in its kind, its category and its groups."""
        groups = self._all("callers", "group")
        callers = [
            _entity(
                _uid("Caller", caller["code"]),
                [_uid("Group", group["code"]) for group in groups if caller["code"] in group["members"]],
            )
            for caller in self._all("callers", "caller")
        ]
        records = [
            _entity(
                _uid("Record", f"{kind}/{category['code']}"),
                [
                    _uid("Kind", kind),
                    _uid("Category", category["code"]),
                    *(
                        _uid("Group", f"{group['code']}/{kind}")
                        for group in self._all("categories", "group")
                        if kind in group["kinds"] and category["code"] in group["members"]
                    ),
                ],
            )
            for category in self._all("categories", "category")
            for kind in (*category["subjects"], "NONE")
        ]
        # What a kind of subject does not have is forbidden where a red line says so, and else given by nobody.
        absent = [
            _entity(
                _uid("Record", f"{kind}/{category['code']}"),
                [_uid("Kind", kind), _uid("Absent", category["code"])],
            )
            for category in self._all("categories", "category")
            for kind in KINDS
            if kind not in (*category["subjects"], "NONE")
        ]
        return json.dumps([*callers, *records, *absent])

    def policies(self) -> str:
        """One policy for each rule in force and each red line, named by its id."""
        rules = [self._permit(rule) for rule in self._today(self._all("rules", "rule")) if _is_active(rule)]
        lines = [self._forbid(line) for line in self._today(self._all("red_lines", "red_line"))]
        return "\n".join([*rules, *lines])

    def _permit(self, rule: dict[str, Any]) -> str:
        categories = [
            f"resource in {kind_group}"
            for word in rule["categories"]
            for kind_group in (
                [f'Group::"{word}/{kind}"' for kind in rule["kinds"]]
                if word.startswith("*")
                else [f'Category::"{word}"']
            )
        ]
        kinds = ", ".join(f'Kind::"{kind}"' for kind in rule["kinds"])
        when = [
            f"principal in [{', '.join(map(_caller, rule['callers']))}]",
            f"resource in [{kinds}]",
            f"({' || '.join(categories)})",
            *(f"({self._condition(code)})" for code in rule["conditions"]),
        ]
        body = " && ".join(when)
        return (
            f'@id("{rule["id"]}") permit(principal, action == Action::"{rule["purpose"]}", resource)'
            f" when {{ {body} }};"
        )

    def _forbid(self, line: dict[str, Any]) -> str:
        when = [f"resource in [{', '.join(f'Kind::{json.dumps(kind)}' for kind in line['kinds'])}]"]
        if "*" not in line["categories"]:
            named = [f'resource in [Category::"{word}", Absent::"{word}"]' for word in line["categories"]]
            when.append(f"({' || '.join(named)})")
        if "*" not in line["callers"]:
            when.append(f"principal in [{', '.join(map(_caller, line['callers']))}]")
        if "*" not in line["purposes"]:
            when.append(f"action in [{', '.join(f'Action::{json.dumps(p)}' for p in line['purposes'])}]")
        return f'@id("{line["id"]}") forbid(principal, action, resource) when {{ {" && ".join(when)} }};'

    def _condition(self, code: str) -> str:
        """When the condition holds, over the context of the request."""
        (condition,) = (c for c in self._all("conditions", "condition") if c["code"] == code)
        if code == "ONE_BY_ONE":
            return "context.subjects == 1"
        if "condition" not in condition["kinds"]:
            return "true"
        given = " || ".join(
            f"context.given.containsAll({json.dumps(fields)})" for fields in condition["evidence"]
        )
        genuine = " || ".join(
            f"context.given.containsAll({json.dumps(fields)}) && context.genuine.containsAll({json.dumps(fields)})"
            for fields in condition["evidence"]
        )
        if condition["proof"] == "token":
            return 'context.isSelf || (principal == Caller::"AGENT" && context.genuine.contains("mandate"))'
        if condition["proof"] == "identifier":
            return "context.synthetic"
        if condition["proof"] == "authorization":
            return genuine
        if condition["proof"] == "catalogue":
            laws = [
                law["code"] for law in self._today(self._all("instruments", "instrument")) if _is_law(law)
            ]
            measures = [measure["code"] for measure in self._all("measures", "measure")]
            listed = (
                f"{json.dumps(laws)}.contains(context.instrument)"
                if "instrument" in condition["evidence"][0]
                else f"{json.dumps(measures)}.contains(context.measure)"
            )
            return f"({given}) && {listed}"
        declared = code in self.files["province/bundle.toml"]["declared_is_enough"]
        looked_up = condition["proof"] == "register" and not declared
        registered = "context.registered" if looked_up else "true"
        return f"({given}) && {registered} && {_STAGE.get(code, 'true')}"


_STAGE = {
    "TENDER": 'context.stage != "" && context.stage != "FINAL"',
    "WINDOW": 'context.stage != "" && context.stage != "FINAL"',
    "STAGE_FINAL": 'context.stage == "FINAL"',
}


def _is_active(rule: dict[str, Any]) -> bool:
    return bool(rule["status"] == "ACTIVE")


def _is_law(instrument: dict[str, Any]) -> bool:
    return bool(instrument["layer"] != "PRODUCT")


def _caller(word: str) -> str:
    return f'Group::"{word}"' if word.startswith("@") else f'Caller::"{word}"'


def _uid(type_: str, id_: str) -> dict[str, str]:
    return {"type": type_, "id": id_}


def _entity(uid: dict[str, str], parents: list[dict[str, str]]) -> dict[str, Any]:
    return {"uid": uid, "attrs": {}, "parents": parents}
