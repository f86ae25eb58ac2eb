"""Envelopes and field maps on answers made by hand: what is data, what is none, what is a fault."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import connectors
from connectors.answers import SourceFaultError
from connectors.conversions import (
    Known,
    UnreadableError,
    amount,
    capital,
    careful_converter,
    converter,
    instant,
)
from connectors.envelope import Row, open_envelope
from connectors.loader import read_sources
from connectors.mapping import RecordMap
from connectors.message import Reply
from connectors.problems import SourceKeyError
from connectors.source import Envelope, FieldMap, LookupFile, SourceFile, Values
from policies.catalogue import (
    LIFECYCLE,
    SECTION_OF,
    AdverseRecord,
    Arrears,
    Commitment,
    ContributionPayment,
    IdentityMatch,
    Licence,
    ListRecord,
    Penalty,
    Record,
    Registration,
    fields_of,
)
from policies.vocabulary import AmountBand, ArrearsKind, Mark, Performance, Severity

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
EVERYTHING = (1 << 64) - 1


def envelope(**parts: Any) -> Envelope:
    return msgspec.convert({"records": "data", **parts}, Envelope)


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Reply(
        status, httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()}), raw
    )


def fault_of(body: Any, shape: Envelope, status: int = 200) -> str:
    with pytest.raises(SourceFaultError) as caught:
        open_envelope(reply(body, status), shape, NOW)
    return caught.value.fault.code.value


# --- envelopes


def test_records_lie_where_the_file_says() -> None:
    shape = envelope(records="result.list", total="result.total")
    rows = open_envelope(reply({"result": {"total": 7, "list": [{"a": 1}]}}), shape, NOW)
    assert (list(rows.rows), rows.total, rows.as_of) == ([{"a": 1}], 7, NOW)


def test_a_single_object_is_one_record() -> None:
    assert list(open_envelope(reply({"data": {"a": 1}}), envelope(), NOW).rows) == [{"a": 1}]


def test_an_empty_list_is_no_data() -> None:
    assert not open_envelope(reply({"data": []}), envelope(), NOW).rows


def test_null_is_no_data_only_where_the_file_says_so() -> None:
    assert fault_of({"data": None}, envelope()) == "GARBAGE"
    assert not open_envelope(reply({"data": None}), envelope(null_records=True), NOW).rows


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("300000", "none"),
        ("0", "data"),
        ("401", "REFUSED"),
        ("429", "ERROR"),
        ("777", "ERROR"),
        (0, "ERROR"),
        (None, "GARBAGE"),
    ],
)
def test_codes_have_the_meaning_of_the_file(code: Any, outcome: str) -> None:
    level = {"at": "code", "ok": ["0"], "no_data": ["300000"], "refused": ["401"], "busy": ["429"]}
    shape = envelope(codes=[level])
    body = {"code": code, "data": [{"a": 1}]}
    if outcome == "data":
        assert open_envelope(reply(body), shape, NOW).rows
    elif outcome == "none":
        assert not open_envelope(reply(body), shape, NOW).rows
    else:
        assert fault_of(body, shape) == outcome


def test_an_unknown_code_is_not_repeated() -> None:
    with pytest.raises(SourceFaultError) as caught:
        open_envelope(
            reply({"code": "91990100FAKE00013D", "data": []}),
            envelope(codes=[{"at": "code", "ok": ["0"]}]),
            NOW,
        )
    assert "FAKE" not in str(caught.value)


def test_both_levels_of_codes_must_be_right() -> None:
    shape = envelope(
        records="body.list",
        codes=[{"at": "outer", "ok": [0], "refused": [-2]}, {"at": "body.inner", "ok": [0], "no_data": [-1]}],
    )
    assert open_envelope(reply({"outer": 0, "body": {"inner": 0, "list": [{}]}}), shape, NOW).rows
    assert not open_envelope(reply({"outer": 0, "body": {"inner": -1, "list": []}}), shape, NOW).rows
    assert fault_of({"outer": 0, "body": {"inner": -5, "list": []}}, shape) == "ERROR"
    assert fault_of({"outer": -2, "body": {"inner": 0, "list": []}}, shape) == "REFUSED"
    assert fault_of({"outer": 0, "body": None}, shape) == "GARBAGE"


def test_the_message_decides_where_one_code_means_several_things() -> None:
    level = {
        "at": "result",
        "ok": [1],
        "message": "msg",
        "messages": {"无数据": "no_data", "认证失败": "refused"},
    }
    shape = envelope(codes=[level])
    assert not open_envelope(reply({"result": 0, "msg": "无数据"}), shape, NOW).rows
    assert fault_of({"result": 0, "msg": "认证失败"}, shape) == "REFUSED"
    assert fault_of({"result": 0, "msg": "系统忙"}, shape) == "ERROR"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, ""), (404, "ERROR"), (401, "REFUSED"), (403, "REFUSED"), (500, "ERROR"), (302, "ERROR")],
)
def test_http_statuses_are_faults_unless_the_file_says_otherwise(status: int, outcome: str) -> None:
    if outcome:
        assert fault_of({"data": []}, envelope(), status) == outcome
    else:
        assert not open_envelope(reply({"data": []}, status), envelope(), NOW).rows


def test_a_404_is_no_data_only_where_the_file_says_so() -> None:
    assert not open_envelope(reply(b"", 404), envelope(http={"404": "no_data"}), NOW).rows
    read = envelope(http={"404": "ok"}, codes=[{"at": "code", "ok": [0], "no_data": [404]}])
    assert not open_envelope(reply({"code": 404, "data": None}, 404), read, NOW).rows
    assert fault_of(b"<html>not here</html>", read, 404) == "GARBAGE"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>blocked</html>",
        b'{"data": [',
        b'"\xff"',
        b"[" * 100_000,
        [1],
        {"data": "x"},
        {"data": [1]},
        {"data": 3},
        {},
    ],
)
def test_what_is_no_answer_is_garbage(body: Any) -> None:
    assert fault_of(body, envelope()) == "GARBAGE"


@pytest.mark.parametrize("total", ["x", None, -1, True, 1.5])
def test_a_total_that_is_no_number_is_garbage(total: Any) -> None:
    assert fault_of({"total": total, "data": []}, envelope(total="total")) == "GARBAGE"


@pytest.mark.parametrize(
    ("stated", "form", "expected"),
    [
        ("2026-11-19 22:00:00", "%Y-%m-%d %H:%M:%S", datetime(2026, 11, 19, 14, tzinfo=UTC)),
        ("2026-11-20T02:00:00+08:00", "iso", datetime(2026, 11, 19, 18, tzinfo=UTC)),
        ("2026-11-20T02:00:00", "iso", datetime(2026, 11, 19, 18, tzinfo=UTC)),
        ("Thu, 19 Nov 2026 18:00:00 GMT", "http", datetime(2026, 11, 19, 18, tzinfo=UTC)),
        (1795111200000, "epoch_ms", datetime(2026, 11, 19, 18, tzinfo=UTC)),
        ("1795111200", "epoch_s", datetime(2026, 11, 19, 18, tzinfo=UTC)),
        ("yesterday", "iso", None),
        ("yesterday", "http", None),
        (10**30, "epoch_s", None),
        (None, "iso", NOW),
    ],
)
def test_the_source_says_how_current_its_data_is(stated: Any, form: str, expected: datetime | None) -> None:
    shape = envelope(updated={"at": "at", "formats": [form]})
    assert open_envelope(reply({"at": stated, "data": []}), shape, NOW).as_of == expected
    if isinstance(stated, str):
        by_header = envelope(updated={"header": "X-Data-Time", "formats": [form]})
        assert open_envelope(reply({"data": []}, X_Data_Time=stated), by_header, NOW).as_of == expected


# --- conversions


VALUES = Values(null=("\\N",), never_ends=("2099-12-31",))


def read(record: type[Record], name: str, value: Any, **rule: Any) -> Any:
    field = next(field for field in fields_of(record) if field.name == name)
    return converter(field, msgspec.convert({"from": "x", **rule}, FieldMap), VALUES, "fields.x")(value)


@pytest.mark.parametrize(
    ("value", "formats", "expected"),
    [
        ("2025-03-01", ["%Y-%m-%d"], date(2025, 3, 1)),
        (" 2025-03-01 ", ["%Y-%m-%d"], date(2025, 3, 1)),
        ("20250301", ["%Y-%m-%d", "%Y%m%d"], date(2025, 3, 1)),
        (20250301, ["%Y%m%d"], date(2025, 3, 1)),
        ("2025/03/01 00:00:00", ["%Y/%m/%d %H:%M:%S"], date(2025, 3, 1)),
        ("2025年03月01日", ["%Y年%m月%d日"], date(2025, 3, 1)),
        (1740758400000, ["epoch_ms"], date(2025, 3, 1)),
        ("2099-12-31", ["%Y-%m-%d"], None),
        ("\\N", ["%Y-%m-%d"], None),
        (None, ["%Y-%m-%d"], None),
    ],
)
def test_days(value: Any, formats: list[str], expected: date | None) -> None:
    assert read(Record, "public_until", value, formats=formats) == expected


@pytest.mark.parametrize("value", ["2025311", "2025-13-01", "2025-3-1", "soon", "", True, 1.5, [], {}])
def test_what_is_no_day_is_unreadable(value: Any) -> None:
    with pytest.raises(UnreadableError):
        read(Record, "public_until", value, formats=["%Y-%m-%d", "%Y%m%d"])


def test_a_day_beyond_the_calendar_is_unreadable() -> None:
    with pytest.raises(UnreadableError):
        read(Record, "public_until", 10**40, formats=["epoch_s"])


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("12345.60", "元", "12345.60"),
        (12, "元", "12"),
        (Decimal("0.1"), "元", "0.1"),
        ("-3.5", "元", "-3.5"),
        ("1,234,567.8", "元", "1234567.8"),
        ("0.5000", "万元", "5000"),
        ("0.0000", "万元", "0"),
        ("1.2345", "万元", "12345"),
        ("2", "亿元", "200000000"),
        ("150", "分", "1.5"),
    ],
)
def test_amounts_are_exact_and_in_yuan(value: Any, unit: str, expected: str) -> None:
    assert str(read(Penalty, "fine", value, unit=unit)) == expected


@pytest.mark.parametrize(
    "value", ["", "12,34", "1e9", "many", "1" * 40, True, Decimal("1E+400"), Decimal("NaN"), []]
)
def test_what_is_no_amount_is_unreadable(value: Any) -> None:
    with pytest.raises(UnreadableError):
        amount(value)


def test_a_band_comes_from_the_amount_in_its_unit() -> None:
    assert (
        read(Arrears, "amount_band", "1.5", **{"as": "band", "unit": "万元"}) is AmountBand.FROM_10K_TO_100K
    )
    assert read(Arrears, "amount_band", None, **{"as": "band"}) is None


def test_months() -> None:
    assert read(Arrears, "period", "202503", **{"as": "month", "formats": ["%Y%m", "%Y"]}) == "2025-03"
    assert read(Arrears, "period", "2025", **{"as": "month", "formats": ["%Y%m", "%Y"]}) == "2025"
    with pytest.raises(UnreadableError):
        read(Arrears, "period", "202513", **{"as": "month", "formats": ["%Y%m", "%Y"]})


def test_codes_become_words() -> None:
    assert read(Arrears, "severity", "2", table={"1": "MINOR", "2": "GENERAL"}) is Severity.GENERAL
    assert read(Arrears, "severity", 2, table={"1": "MINOR", "2": "GENERAL"}) is Severity.GENERAL
    assert read(Arrears, "kind", "TAX") is ArrearsKind.TAX
    assert read(Commitment, "performance", "2", table={"2": "BROKEN"}) is Performance.BROKEN
    assert read(IdentityMatch, "matched", "0", table={"1": True, "0": False}) is False
    assert read(IdentityMatch, "matched", True) is True
    assert read(Arrears, "kind", "anything", **{"from": None, "is": "FEE"}) is ArrearsKind.FEE
    for name, value, rule in (("severity", "9", {"table": {"1": "MINOR"}}), ("kind", "WATER", {})):
        with pytest.raises(UnreadableError):
            read(Arrears, name, value, **rule)


def test_whole_numbers_and_texts() -> None:
    assert read(ContributionPayment, "headcount", "12") == 12
    assert read(ContributionPayment, "headcount", 12) == 12
    assert read(Licence, "status", " as filed ") == " as filed "
    assert read(Licence, "status", "\\N") is None
    assert read(Licence, "status", "\\N", null=[]) == "\\N"
    for name, value in (
        ("headcount", "twelve"),
        ("headcount", "1.5"),
        ("status", {"a": 1}),
        ("status", True),
    ):
        with pytest.raises(UnreadableError):
            read(ContributionPayment, name, value)


def test_a_pattern_picks_the_part_that_counts() -> None:
    assert read(Penalty, "fine", "罚款5000元", pattern="罚款([0-9]+)元") == Decimal(5000)
    with pytest.raises(UnreadableError):
        read(Penalty, "fine", "警告", pattern="罚款([0-9]+)元")


_MARK_CODES = {"01": "UNDER_OBJECTION", "02": "UNDER_APPEAL", "03": "UNDER_SUIT"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ()),
        (None, ()),
        ("\\N", ()),
        ("01", (Mark.UNDER_OBJECTION,)),
        ("01,03", (Mark.UNDER_OBJECTION, Mark.UNDER_SUIT)),
        (["02"], (Mark.UNDER_APPEAL,)),
        ([], ()),
    ],
)
def test_marks(value: Any, expected: tuple[Mark, ...]) -> None:
    assert read(Record, "marks", value, table=_MARK_CODES, split=",") == expected


@pytest.mark.parametrize("value", ["04", "01;02", ["09"], {"a": 1}, [None]])
def test_an_unknown_mark_is_unreadable(value: Any) -> None:
    with pytest.raises(UnreadableError):
        read(Record, "marks", value, table=_MARK_CODES, split=",")


@pytest.mark.parametrize(
    ("text", "size", "currency"),
    [
        ("20(万)", "200000", None),
        ("3(万元)", "30000", "CNY"),
        ("50万元人民币", "500000", "CNY"),
        ("500万人民币", "5000000", "CNY"),
        ("1,080(万元)", "10800000", "CNY"),
        ("1,234.5(万)", "12345000", None),
        ("“20(万)”", "200000", None),
        ('"500万元人民币', "5000000", "CNY"),
        ("２０（万元）", "200000", "CNY"),
        ("100万美元", "1000000", "USD"),
        ("100万港元", "1000000", "HKD"),
        ("人民币 50 万元", "500000", "CNY"),
        ("USD300.5", "300.5", "USD"),
        ("2亿元", "200000000", "CNY"),
        ("5000000元", "5000000", "CNY"),
        ("800", "800", None),
    ],
)
def test_capital_that_is_understood(text: str, size: str, currency: str | None) -> None:
    assert (str(capital(text)[0]), capital(text)[1]) == (size, currency)


@pytest.mark.parametrize(
    "text",
    [
        "N/A",
        "",
        "约50万元",
        "50万元至60万元",
        "12,34万元",
        "万元",
        "美元50万人民币",
        "50万銭",
        "-5万元",
        "五十万元",
    ],
)
def test_capital_that_is_not_surely_understood_is_not_guessed(text: str) -> None:
    assert capital(text) == (None, None)


def test_capital_is_kept_as_filed() -> None:
    assert read(Registration, "capital", '"20(万)') == '"20(万)'
    assert read(Registration, "capital", "N/A") == "N/A"
    assert read(Registration, "capital_amount", "N/A", **{"as": "capital_amount"}) is None


@pytest.mark.parametrize(
    ("record", "name", "rule", "key"),
    [
        (Arrears, "severity", {"table": {"1": "GRAVE"}}, "fields.x.table.1"),
        (Arrears, "severity", {"is": "GRAVE", "from": None}, "fields.x.is"),
        (Arrears, "period", {"as": "band"}, "fields.x.as"),
        (Arrears, "amount", {"is": "5", "from": None}, "fields.x.is"),
        (Penalty, "facts", {"pattern": "("}, "fields.x.pattern"),
        (Penalty, "facts", {"table": {"1": True}}, "fields.x.table.1"),
        (Record, "marks", {"table": {"1": "LOUD"}}, "fields.x.table.1"),
    ],
)
def test_a_rule_that_does_not_fit_its_field_is_refused(
    record: type[Record], name: str, rule: Any, key: str
) -> None:
    with pytest.raises(SourceKeyError) as caught:
        read(record, name, None, **rule)
    assert caught.value.key == key


# --- records

_FIELDS: dict[str, Any] = {
    "record_id": "id",
    "provider": "unit",
    "marks": {"from": "marks", "table": _MARK_CODES, "split": ","},
    "public_until": "until",
    "repaired_on": {"from": "repaired", "optional": True},
    "decided_on": "decided",
    "severity": {"from": "degree", "table": {"1": "MINOR"}},
    "basis_kind": {"from": "basis", "table": {"01": "JUDICIAL_DOCUMENT"}},
    "facts": "what.facts",
    "fine": "fine",
}
_ROW: dict[str, Any] = {
    "id": "R1", "unit": "unit", "marks": "01", "until": "2027-01-01", "decided": "2026-01-01", "degree": "1",
    "basis": "01", "what": {"facts": "facts", "more": "dropped"}, "fine": "5", "phone": "12345", "owner": "x",
}  # fmt: skip


def record_map_file(fields: dict[str, Any] | None = None) -> SourceFile:
    maps = {
        name: value if isinstance(value, dict) else {"from": value}
        for name, value in (fields or _FIELDS).items()
    }
    lookup = {
        "category": "PENALTY",
        "kinds": ["ORG"],
        "keys": ["credit_code"],
        "method": "POST",
        "path": "/",
        "subject": "owner",
        "fields": maps,
    }
    source = {
        "id": "s", "title": "s", "chinese": "s", "owner": "S", "kind": "PLATFORM", "url": "http://127.0.0.1",
        "envelope": {"records": "data"}, "lookup": [lookup],
    }  # fmt: skip
    return msgspec.convert(source, SourceFile)


def record_map(fields: dict[str, Any] | None = None) -> RecordMap:
    file = record_map_file(fields)
    return RecordMap(file, file.lookup[0], "lookup[0]")


def mask(*names: str) -> int:
    return sum(1 << place for place, field in enumerate(fields_of(Penalty)) if field.name in names)


def test_a_record_is_read_field_by_field() -> None:
    record = record_map().record(_ROW, EVERYTHING)
    assert isinstance(record, Penalty)
    assert (record.record_id, record.facts, record.fine) == ("R1", "facts", Decimal(5))
    assert (record.marks, record.public_until) == ((Mark.UNDER_OBJECTION,), date(2027, 1, 1))


def test_what_is_not_granted_is_not_kept_but_what_decides_is() -> None:
    record = record_map().record(_ROW, mask("fine"))
    assert isinstance(record, Penalty)
    assert (record.fine, record.facts, record.basis_kind) == (Decimal(5), None, None)
    assert (record.provider, record.severity, record.decided_on) == ("unit", Severity.MINOR, date(2026, 1, 1))


def test_unmapped_members_are_counted_and_gone() -> None:
    made = record_map()
    assert made.unmapped([_ROW]) == 1
    assert made.unmapped([_ROW, {**_ROW, "more": 1}, {"id": 1, "else": None}, _ROW]) == 1 + 2 + 1 + 1
    assert "12345" not in str(made.record(_ROW, EVERYTHING))


@pytest.mark.parametrize(("member", "value"), [("basis", "99"), ("fine", "much"), ("what", None)])
def test_a_bad_value_costs_its_field_alone(member: str, value: Any) -> None:
    record = record_map().record({**_ROW, member: value}, EVERYTHING)
    assert record.record_id == "R1"
    assert isinstance(record, AdverseRecord)
    assert record.severity is Severity.MINOR


@pytest.mark.parametrize(
    ("member", "value"),
    [("until", "soon"), ("decided", "20260101"), ("degree", "9"), ("marks", "07"), ("repaired", "yes")],
)
def test_what_decides_over_showing_must_be_readable(member: str, value: str) -> None:
    with pytest.raises(SourceFaultError) as caught:
        record_map().record({**_ROW, member: value}, mask("fine"))
    assert caught.value.fault.code == "GARBAGE"
    assert value not in caught.value.fault.detail


@pytest.mark.parametrize("member", ["until", "decided", "degree", "marks", "id"])
def test_what_decides_over_showing_must_be_there(member: str) -> None:
    row = {name: value for name, value in _ROW.items() if name != member}
    with pytest.raises(SourceFaultError) as caught:
        record_map().record(row, EVERYTHING)
    assert caught.value.fault.code == "GARBAGE"


@pytest.mark.parametrize("identifier", ["", None, [], {}])
def test_a_record_without_identifier_is_garbage(identifier: Any) -> None:
    with pytest.raises(SourceFaultError):
        record_map().record({**_ROW, "id": identifier}, EVERYTHING)


def test_an_optional_lifecycle_member_may_be_left_out() -> None:
    record = record_map().record(_ROW, EVERYTHING)
    assert record.repaired_on is None


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({**_FIELDS, "colour": "c"}, "lookup[0].fields.colour"),
        ({"facts": "f"}, "lookup[0].fields.record_id"),
        ({**_FIELDS, "facts": {}}, "lookup[0].fields.facts"),
        ({**_FIELDS, "facts": {"from": "a", "is": "b"}}, "lookup[0].fields.facts"),
    ],
)
def test_a_field_map_that_cannot_work_is_refused(fields: dict[str, Any], key: str) -> None:
    with pytest.raises(SourceKeyError) as caught:
        record_map(fields)
    assert caught.value.key == key


def test_every_day_that_all_records_of_a_kind_share_decides_over_showing() -> None:
    shared = [field for base in (Record, AdverseRecord, ListRecord) for field in fields_of(base)]
    days = {field.name for field in shared if field.type == date | None}
    assert {"repaired_on", "removed_on", "conduct_ended_on"} <= days <= LIFECYCLE


# --- the quick form and the careful form


class Careful(RecordMap):
    """The same map without any quick look: every field read with care, on its own."""

    def __init__(self, source: SourceFile, lookup: LookupFile, key: str) -> None:
        super().__init__(source, lookup, key)
        fields = {field.name: field for field in fields_of(self._record)}
        self._fields = [
            msgspec.structs.replace(
                each,
                read=careful_converter(fields[each.name], lookup.fields[each.name], source.values, key),
            )
            for each in self._fields
        ]

    def record(self, row: Row, mask: int) -> Record:
        return self._careful(row, self._plan(mask))


FILES = read_sources(Path(connectors.__file__).parent / "sources")
LOOKUPS = [(file, place) for file in FILES.values() for place in range(len(file.lookup))]
GONE = object()


def _in_form(formats: tuple[str, ...]) -> Callable[[date], Any]:
    def written(day: date) -> Any:
        form = formats[0]
        return int(day.strftime("%s")) * 1000 if form == "epoch_ms" else day.strftime(form)

    return written


def good(file: SourceFile, lookup: LookupFile, name: str) -> st.SearchStrategy[Any]:
    """Values as the source should send them for one field."""
    rule = lookup.fields[name]
    [field] = [each for each in fields_of(lookup_record(lookup)) if each.name == name]
    null = st.sampled_from([None, *(file.values.null if rule.null is None else rule.null)])
    hint = str(field.type)
    if name == "record_id":
        return st.sampled_from(["R1", "R2"])
    if rule.table is not None:
        return st.sampled_from([*rule.table, ""] if "tuple" in hint else list(rule.table))
    if rule.conversion in ("capital_amount", "capital_currency"):
        return st.sampled_from(["500万元人民币", "20(万)", "N/A"])
    if "date" in hint or rule.conversion == "month":
        days = st.dates(date(1990, 1, 1), date(2040, 1, 1)).map(_in_form(rule.formats or file.values.dates))
        return st.one_of(days, st.sampled_from(rule.never_ends or file.values.never_ends or [None]), null)
    if "Decimal" in hint or rule.conversion == "band":
        return st.one_of(st.sampled_from(["0.5000", "1,234.5", 12, Decimal("1.50")]), null)
    if "int" in hint:
        return st.one_of(st.integers(0, 10**6), st.just("12"), null)
    return st.one_of(st.sampled_from(["示例", "TAX", " as filed ", 7]), st.text(max_size=4), null)


def lookup_record(lookup: LookupFile) -> type[Record]:
    return SECTION_OF[lookup.category, lookup.kinds[0]].record


ODD: list[Any] = [
    GONE, None, True, False, 0, 1, 12, Decimal("1.50"), 1795111200000, [], ["01"], {}, {"a": 1}, "", " ", "0", "01", " 1 ",
    "12.50", "2026-01-05", "20260105", "2026/01/05 00:00:00", " 2026-01-05 ", "2099-12-31", "soon", "\\N", "无", " 无 ",
    *Mark, *Severity,
]  # fmt: skip


def rows_of(file: SourceFile, lookup: LookupFile) -> st.SearchStrategy[dict[str, Any]]:
    """Records as this source might send them: good ones, in which up to three members are odd."""
    paths = {rule.source: name for name, rule in lookup.fields.items() if rule.source is not None}
    sound = st.fixed_dictionaries({path: good(file, lookup, name) for path, name in paths.items()})
    spoilt = st.dictionaries(st.sampled_from(list(paths)), st.sampled_from(ODD), max_size=3)
    return st.builds(lambda flat, odd: _nested({"unmapped": 1, **flat, **odd}), sound, spoilt)


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for path, value in flat.items():
        *way, last = path.split(".")
        inner = row
        for name in way:
            inner = inner.setdefault(name, {})
        if value is not GONE:
            inner[last] = value
    return row


def outcome(form: RecordMap, row: dict[str, Any], mask: int) -> str:
    try:
        return repr(form.record(row, mask))
    except SourceFaultError as error:
        return str(error)


@pytest.mark.parametrize(
    ("file", "place"), LOOKUPS, ids=[f"{file.id}-{file.lookup[place].category}" for file, place in LOOKUPS]
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_quick_form_is_the_careful_form(file: SourceFile, place: int, data: st.DataObject) -> None:
    """On good and bad rows of every shipped lookup, with any field mask: the same record or the same fault."""
    lookup = file.lookup[place]
    quick, careful = (form(file, lookup, "lookup") for form in (RecordMap, Careful))
    mask = data.draw(st.one_of(st.just(EVERYTHING), st.integers(0, EVERYTHING)))
    for row in data.draw(st.lists(rows_of(file, lookup), min_size=1, max_size=2)):
        assert outcome(quick, row, mask) == outcome(careful, row, mask)


def test_the_quick_form_is_quick_on_a_good_row() -> None:
    """A row without anything unusual never reaches the careful form, even where members are null or absent."""

    class Quick(RecordMap):
        def _careful(self, row: Row, plan: Any) -> Record:
            raise AssertionError("the careful form was not needed")

    file = record_map_file()
    made = Quick(file, file.lookup[0], "lookup[0]")
    record = made.record({**_ROW, "fine": None, "decided": None}, EVERYTHING)
    assert (record.record_id, record.repaired_on) == ("R1", None)


def test_what_is_remembered_of_one_value_is_not_given_for_another() -> None:
    """1, "1", True and a decimal 1 are equal or look alike, and are different values."""
    assert instant("1", ("epoch_s",)) == instant(1, ("epoch_s",)) != instant("1", ("epoch_ms",))
    with pytest.raises(UnreadableError):
        instant(True, ("epoch_s",))
    for good in (1, "1"):
        assert read(Record, "public_until", good, formats=["epoch_s"]) == date(1970, 1, 1)
    for bad in (True, Decimal(1), "1.0", ["1"]):
        with pytest.raises(UnreadableError):
            read(Record, "public_until", bad, formats=["epoch_s"])
    for text in ("1.50", "1.5", "01.50"):
        assert str(read(Penalty, "fine", text)) == str(Decimal(text))


def test_a_null_word_is_null_even_where_a_table_knows_it() -> None:
    rule = {"table": {"0": "MINOR", "1": "GENERAL"}, "null": ["0"]}
    assert [read(Arrears, "severity", value, **rule) for value in ("0", " 0 ", "1", " 1 ")] == [
        None,
        None,
        Severity.GENERAL,
        Severity.GENERAL,
    ]


def test_a_member_that_may_be_absent_is_no_reason_for_care() -> None:
    """Neither at the top of a record nor deeper down."""

    class Quick(RecordMap):
        def _careful(self, row: Row, plan: Any) -> Record:
            raise AssertionError("the careful form was not needed")

    file = record_map_file()
    made = Quick(file, file.lookup[0], "lookup[0]")
    row = {name: value for name, value in _ROW.items() if name not in ("what", "fine", "unit")}
    record = made.record(row, EVERYTHING)
    assert isinstance(record, Penalty)
    assert (record.facts, record.fine, record.provider) == (None, None, None)


def test_names_of_members_are_names_whatever_they_look_like() -> None:
    """A file may name any member: what is written for its fields reads that member and nothing else."""
    odd = ['"] + row["', "'", "a\nb", "{}", "\\", "名", "]; raise SystemExit"]
    for name in odd:
        made = record_map({"record_id": name, "facts": name})
        record = made.record({name: "R1"}, EVERYTHING)
        assert isinstance(record, Penalty)
        assert (record.record_id, record.facts) == ("R1", "R1")


def test_remembered_words_are_bounded_and_never_long() -> None:
    reads = converter(
        next(field for field in fields_of(Penalty) if field.name == "fine"),
        FieldMap(source="fine"),
        Values(),
        "fields.fine",
    )
    assert isinstance(reads, Known)
    for number in range(10_000):
        assert reads(str(number)) == Decimal(number)
    assert len(reads) <= 4096
    padded = " " * 100 + "5"
    assert (reads(padded), padded in reads) == (Decimal(5), False)
    assert reads(None) is None


def test_shapes_of_records_are_remembered_within_bounds() -> None:
    made = record_map()
    for number in range(300):
        assert made.unmapped([{"id": 1, f"more{number}": 2}] * 2) == 2
    assert made.unmapped([{str(number): 1 for number in range(1000)}]) == 1000
    assert 0 < len(made._shapes) <= 64


def test_plans_are_bounded() -> None:
    made = record_map()
    for number in range(300):
        assert made.record(_ROW, number).record_id == "R1"
    assert len(made._plans) <= 64
