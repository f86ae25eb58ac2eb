"""The dense table says what the rules say: cell by cell, day by day, and as the matrices drawn by hand say."""

from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from itertools import product

import msgspec
import pytest

from policies.bundle import Bundle, Layer, RedLine, Rule, RuleStatus
from policies.bundle_loading import load
from policies.catalogue import SECTION_OF, fields_of
from policies.table import Cell, Table, Tables, compile_table
from policies.vocabulary import Level, SubjectKind

BUNDLE = load(files("policies") / "bundles" / "example")
ORG, IND, NP, GOV, NONE = SubjectKind.ORG, SubjectKind.IND, SubjectKind.NP, SubjectKind.GOV, SubjectKind.NONE
TODAY = date(2026, 11, 20)
BEFORE, AFTER = date(2026, 6, 30), date(2026, 7, 1)
TABLE = compile_table(BUNDLE, TODAY)


def with_rules(bundle: Bundle, *rules: Rule) -> Bundle:
    return msgspec.structs.replace(bundle, rules=bundle.rules | {rule.id: rule for rule in rules})


def changed(rule: str, **values: object) -> Rule:
    return msgspec.structs.replace(BUNDLE.rules[rule], **values)


def a_law_that_changes() -> Bundle:
    """The example with a rule that ends, one that follows it, one to come, a draft and a new red line."""
    bundle = with_rules(
        BUNDLE,
        changed("R001", valid_to=BEFORE),
        changed("R001", id="R001B", level=Level.SUMMARY, valid_from=AFTER),
        changed("R019", valid_from=AFTER),
        changed("R012", status=RuleStatus.DRAFT),
    )
    line = msgspec.structs.replace(
        BUNDLE.red_lines["RL01"],
        id="RL09",
        kinds=(ORG, GOV),
        categories=("PENALTY", "GOV_DISHONESTY"),
        callers=("COURT", "BANK", "FINANCE"),
        purposes=("JUDICIAL", "LOAN_PRECHECK", "PROCUREMENT"),
    )
    return msgspec.structs.replace(bundle, red_lines=bundle.red_lines | {line.id: line})


def read_slowly(
    bundle: Bundle, day: date
) -> Iterator[tuple[str, str, SubjectKind, str, Rule | RedLine | None]]:
    """Every cell with what the written rules and red lines say of it, found by looking at each of them."""
    in_force = [
        rule
        for rule in bundle.rules.values()
        if rule.status is RuleStatus.ACTIVE and rule.valid_from <= day <= (rule.valid_to or date.max)
    ]
    for caller, purpose in product(bundle.callers, bundle.purposes):
        rules = [rule for rule in in_force if rule.purpose == purpose and caller in rule.callers]
        lines = [
            line for line in bundle.red_lines.values() if caller in line.callers and purpose in line.purposes
        ]
        for kind, category in product(SubjectKind, bundle.categories):
            giving: list[Rule] = [rule for rule in rules if category in rule.categories.get(kind, ())]
            assert len(giving) <= 1
            forbidding = [line for line in lines if kind in line.kinds and category in line.categories]
            found: list[Rule | RedLine] = [*forbidding, *giving]
            yield caller, purpose, kind, category, found[0] if found else None


REACH = (Level.MATCH, Level.HIT, Level.SUMMARY, Level.FULL)


def fields_shown(category: str, kind: SubjectKind, level: Level) -> set[str]:
    section = SECTION_OF.get((category, kind))
    fields = fields_of(section.record) if section else ()
    if level is Level.PUBLIC:
        return {field.name for field in fields if field.shown.published}
    if level is Level.PASS_THROUGH:
        return {field.name for field in fields}
    shown = REACH[: REACH.index(level) + 1] if level in REACH else ()
    return {field.name for field in fields if field.shown.at in shown}


def fields_masked(cell: Cell) -> set[str]:
    section = SECTION_OF.get((cell.category, cell.kind))
    fields = fields_of(section.record) if section else ()
    assert cell.fields < 1 << len(fields) or not cell.fields
    return {field.name for bit, field in enumerate(fields) if cell.fields >> bit & 1}


def check_every_cell(bundle: Bundle, table: Table, day: date) -> int:
    expected_of: dict[tuple[str, SubjectKind, Level], set[str]] = {}
    checked: set[int] = set()
    count = 0
    for caller, purpose, kind, category, expected in read_slowly(bundle, day):
        cell = table.cell(caller, purpose, kind, category)
        count += 1
        if not isinstance(expected, Rule):
            assert cell is expected, (caller, purpose, kind, category)
            continue
        assert isinstance(cell, Cell), (caller, purpose, kind, category)
        assert (cell.rule, cell.category, cell.kind) == (expected, category, kind)
        if id(cell) in checked:
            continue
        checked.add(id(cell))
        assert cell.level is expected.level
        key = (category, kind, expected.level)
        assert fields_masked(cell) == expected_of.setdefault(key, fields_shown(*key))
    return count


@pytest.mark.parametrize("day", [BEFORE, AFTER])
def test_every_cell_is_what_rules_and_red_lines_say(day: date) -> None:
    bundle = a_law_that_changes()
    assert check_every_cell(bundle, Tables(bundle).on(day), day) == 43 * 25 * 5 * 33


def test_every_cell_of_the_example_is_what_its_rules_say() -> None:
    assert check_every_cell(BUNDLE, TABLE, TODAY) == 43 * 25 * 5 * 33


def rule_on(table: Table, *cell: str) -> str | None:
    caller, purpose, kind, category = cell
    found = table.cell(caller, purpose, SubjectKind(kind), category)
    return found.rule.id if isinstance(found, Cell) else None


def test_a_day_has_the_table_of_its_interval() -> None:
    tables = Tables(a_law_that_changes())
    licensing = ("HOUSING", "LICENSING", "ORG", "REG_ORG")
    penalty = ("HOUSING", "PENALTY_DISCRETION", "NP", "PENALTY")
    supervision = ("HOUSING", "SUPERVISION", "ORG", "PENALTY")
    found = {
        day: [rule_on(tables.on(day), *cell) for cell in (licensing, penalty, supervision)]
        for day in (date.min, date(2022, 9, 30), date(2022, 10, 1), BEFORE, AFTER, date.max)
    }
    assert found == {
        date.min: [None, None, None],
        date(2022, 9, 30): [None, None, None],
        date(2022, 10, 1): ["R001", None, None],
        BEFORE: ["R001", None, None],
        AFTER: ["R001B", "R019", None],
        date.max: ["R001B", "R019", None],
    }


def test_a_table_is_compiled_once_for_an_interval() -> None:
    tables = Tables(a_law_that_changes())
    assert tables.on(AFTER) is tables.on(date(2030, 1, 1))
    assert tables.on(AFTER) is not tables.on(BEFORE)


def test_a_law_may_be_named_while_it_is_in_force() -> None:
    law = BUNDLE.instruments["SH"]
    ends = msgspec.structs.replace(law, valid_from=date(2017, 10, 1), valid_to=BEFORE)
    tables = Tables(msgspec.structs.replace(BUNDLE, instruments=BUNDLE.instruments | {"SH": ends}))
    days = (date(2017, 9, 30), date(2017, 10, 1), BEFORE, AFTER)
    assert ["SH" in tables.on(day).laws for day in days] == [False, True, True, False]


def test_a_decision_of_the_product_is_no_law_and_an_unconfirmed_date_does_not_count_against_one() -> None:
    product_made = {code for code, i in BUNDLE.instruments.items() if i.layer is Layer.PRODUCT}
    assert product_made == {"DESIGN"}
    assert BUNDLE.instruments["JX"].valid_from is None
    assert TABLE.laws == BUNDLE.instruments.keys() - product_made


def test_a_red_line_forbids_from_its_first_to_its_last_day() -> None:
    first, last = date(2027, 3, 1), date(2027, 6, 30)
    line = msgspec.structs.replace(
        BUNDLE.red_lines["RL01"],
        kinds=(SubjectKind.ORG,),
        categories=("PENALTY",),
        callers=("MARKET_REGULATION",),
        purposes=("SUPERVISION",),
        valid_from=first,
        valid_to=last,
    )
    tables = Tables(msgspec.structs.replace(BUNDLE, red_lines={"RL01": line}))
    place = ("MARKET_REGULATION", "SUPERVISION", SubjectKind.ORG, "PENALTY")
    for day, forbidden in (
        (date(2027, 2, 28), False),
        (first, True),
        (last, True),
        (date(2027, 7, 1), False),
    ):
        assert isinstance(tables.on(day).cell(*place), RedLine) is forbidden


def test_unknown_codes_have_no_cell() -> None:
    assert TABLE.cell("NOBODY", "LICENSING", ORG, "PENALTY") is None
    assert TABLE.cell("HOUSING", "CURIOSITY", ORG, "PENALTY") is None
    assert TABLE.cell("HOUSING", "LICENSING", ORG, "HOROSCOPE") is None


def test_what_else_a_caller_could_ask_for() -> None:
    assert TABLE.purposes_of("GUARANTEE") == (
        "GUARANTEE_CHECK",
        "LEGAL_REP_CHECK",
        "LOAN_POSTMGMT",
        "PUBLIC_VIEW",
    )
    assert TABLE.purposes_of("NOBODY") == ()
    assert TABLE.purposes_giving("COURT", NP, "PENALTY") == (
        "LIST_DESIGNATION",
        "OBJECTION",
        "REPAIR",
        "JUDICIAL",
    )
    assert TABLE.purposes_giving("BANK", NP, "EVALUATION") == ()
    assert TABLE.reach["PERSONNEL", "PERSONNEL"] == {NP}
    assert TABLE.reach["COURT", "PROCUREMENT"] == {ORG, IND, NP, GOV}
    assert ("COURT", "LICENSING") not in TABLE.reach


# The matrices as they were drawn by hand. Letters are levels; "*": an authorization, a named law or a second
# officer is needed; "·": nobody gets it.
ORGANISATIONS = """
Purpose             REG_ORG  LICENCE  ADMIN_OTHER  REWARD_ADMIN  PENALTY  COMPULSION  JUDGMENT  ENFORCE_DEFAULT  CRIMINAL  ARREARS  FALSE_STATEMENT  ABNORMAL  SERIOUS_LIST  TRUST_LIST  COMMITMENT  CONTRACT  EVALUATION  HONOUR  CHARITY  IP  COMPLIANCE  VOLUNTARY  TAX_PAYMENT  SI_HF_PAYMENT  UTILITY  MARKET  ASSOC  FINANCIAL_DB  RIGHTS_STATE  ACCESS_LOG
LICENSING           F        F        S            S             S        S           ·         F                ·         S        F                F         F             S           F           ·         S           S       ·        ·   S           S          ·            ·              ·        ·       ·      ·             ·             ·
COMMITMENT_CHECK    F        F        ·            ·             ·        ·           ·         ·                ·         ·        F                H         H             ·           F           ·         ·           ·       ·        ·   ·           ·          ·            ·              ·        ·       ·      ·             ·             ·
SUPERVISION         F        F        ·            ·             F        S           ·         F                ·         S        S                F         F             H           F           S         S           H       ·        ·   F           ·          ·            ·              ·        ·       ·      ·             ·             ·
PENALTY_DISCRETION  F        ·        ·            ·             F        ·           ·         ·                ·         ·        F                H         H             H           F           ·         ·           ·       ·        ·   ·           ·          ·            ·              ·        ·       ·      ·             ·             ·
PROCUREMENT         F        F        ·            ·             S        ·           ·         F                ·         S        S                F         F             S           ·           S         S           S       ·        ·   ·           ·          ·            ·              ·        ·       ·      ·             ·             ·
FISCAL_SUPPORT      F        F        ·            ·             S        ·           ·         F                ·         S        F                F         F             ·           ·           S         S           S       ·        S   S           ·          ·            ·              ·        ·       ·      ·             ·             ·
AWARD               S        S        ·            ·             S        ·           ·         S                ·         S        ·                S         S             ·           ·           ·         ·           S       S        ·   ·           ·          ·            ·              ·        ·       ·      ·             ·             ·
LIST_DESIGNATION    F        ·        ·            ·             F        F           F         F                ·         ·        F                ·         F             ·           ·           ·         ·           ·       ·        ·   ·           ·          ·            ·              ·        ·       ·      ·             F             ·
MEASURE_CHECK       ·        ·        ·            ·             ·        ·           ·         H                ·         ·        ·                ·         H             H           ·           ·         ·           ·       ·        ·   ·           ·          ·            ·              ·        ·       ·      ·             ·             ·
DATA_QUALITY        F        F        ·            ·             F        ·           ·         ·                ·         ·        ·                F         F             ·           F           ·         ·           ·       ·        ·   ·           ·          ·            ·              ·        ·       ·      ·             F             ·
OBJECTION           F        F        F            F             F        F           F         F                F         F        F                F         F             F           F           F         F           F       F        F   F           F          ·            ·              ·        ·       ·      ·             F             ·
REPAIR              ·        ·        ·            ·             F        ·           ·         ·                ·         F        F                F         F             ·           F           ·         ·           ·       ·        ·   ·           ·          ·            ·              ·        ·       ·      ·             F             ·
EVALUATION_RUN      F        F        ·            ·             F        ·           ·         F                ·         F        ·                F         F             ·           F           F         F           F       ·        ·   F           ·          ·            ·              ·        ·       ·      ·             ·             ·
AUDIT               ·        ·        ·            ·             ·        ·           ·         ·                ·         ·        ·                ·         ·             ·           ·           ·         ·           ·       ·        ·   ·           ·          ·            ·              ·        ·       ·      ·             ·             F
STATISTICS          A        A        ·            ·             A        ·           ·         A                ·         ·        ·                A         A             ·           A           ·         A           A       ·        A   ·           ·          ·            ·              ·        ·       ·      ·             ·             ·
JUDICIAL            F        F        ·            ·             F        F           F         F                ·         ·        ·                F         F             ·           ·           F         ·           ·       ·        F   ·           ·          ·            ·              ·        ·       ·      ·             ·             ·
LOAN_PRECHECK       P        P        ·            ·             P        ·           ·         P                ·         S*       ·                P         P             ·           S*          S*        S*          P       ·        P   ·           ·          S*           S*             S*       S*      ·      T*            ·             ·
GUARANTEE_CHECK     P        P        ·            ·             P        ·           ·         P                ·         S*       ·                P         P             ·           ·           ·         S*          ·       ·        ·   ·           ·          S*           ·              ·        ·       ·      ·             ·             ·
LOAN_POSTMGMT       P        P        ·            ·             P        ·           ·         P                ·         S*       ·                P         P             ·           ·           ·         S*          ·       ·        ·   ·           ·          S*           ·              ·        ·       ·      ·             ·             ·
COUNTERPARTY        P        P        ·            ·             P        ·           ·         P                ·         ·        ·                P         P             P           S*          S*        S*          P       ·        P   ·           ·          ·            ·              ·        S*      ·      ·             ·             ·
SELF                F        F        F            F             F        F           F         F                F         F        F                F         F             F           F           F         F           F       F        F   F           F          F            F              F        F       F      ·             F             F
PUBLIC_VIEW         P        P        ·            P             P        ·           ·         P                ·         ·        ·                P         P             P           P           ·         ·           P       P        P   ·           ·          ·            ·              ·        ·       ·      ·             ·             ·
"""

PERSONS = """
Purpose             REG_NP  LICENCE  ADMIN_OTHER  REWARD_ADMIN  PENALTY  COMPULSION  JUDGMENT  ENFORCE_DEFAULT  CRIMINAL  ARREARS  FALSE_STATEMENT  SERIOUS_LIST  TRUST_LIST  COMMITMENT  HONOUR  CHARITY  TITLE  IP  VOLUNTARY  GOV_DISHONESTY  TAX_PAYMENT  SI_HF_PAYMENT  MARKET  FINANCIAL_DB  RIGHTS_STATE  ACCESS_LOG
LICENSING           M       S        ·            ·             S*       ·           ·         H*               ·         ·        H*               H*            ·           S           ·       ·        S      ·   ·          ·               ·            ·              ·       ·             ·             ·
COMMITMENT_CHECK    M       ·        ·            ·             ·        ·           ·         ·                ·         ·        ·                ·             ·           F           ·       ·        ·      ·   ·          ·               ·            ·              ·       ·             ·             ·
SUPERVISION         ·       S        ·            ·             S        ·           ·         ·                ·         ·        ·                ·             ·           ·           ·       ·        S      ·   ·          ·               ·            ·              ·       ·             ·             ·
PENALTY_DISCRETION  M       ·        ·            ·             F        ·           ·         ·                ·         ·        ·                ·             ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       ·             ·             ·
PROCUREMENT         ·       S        ·            ·             ·        ·           ·         H*               ·         ·        ·                H*            ·           ·           ·       ·        S      ·   ·          ·               ·            ·              ·       ·             ·             ·
FISCAL_SUPPORT      ·       ·        ·            ·             ·        ·           ·         H*               ·         ·        H*               H*            ·           ·           ·       ·        S      ·   ·          ·               ·            ·              ·       ·             ·             ·
PERSONNEL           M       ·        ·            ·             ·        ·           ·         H                ·         ·        ·                H             ·           ·           S       ·        S      ·   ·          F*              ·            ·              ·       ·             ·             ·
AWARD               ·       ·        ·            ·             ·        ·           ·         H                ·         ·        ·                H             ·           ·           S*      S*       ·      ·   ·          ·               ·            ·              ·       ·             ·             ·
LIST_DESIGNATION    M       ·        ·            ·             F*       ·           ·         F*               ·         ·        ·                F*            ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       ·             F*            ·
MEASURE_CHECK       ·       ·        ·            ·             ·        ·           ·         H*               ·         ·        ·                H*            ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       ·             ·             ·
DATA_QUALITY        M       ·        ·            ·             ·        ·           ·         ·                ·         ·        ·                ·             ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       ·             ·             ·
OBJECTION           F       F        F            F             F        F           F         F                F         F        F                F             F           F           F       F        F      F   F          F               ·            ·              ·       ·             F             ·
REPAIR              ·       ·        ·            ·             F        ·           ·         ·                ·         ·        F                F             ·           F           ·       ·        ·      ·   ·          ·               ·            ·              ·       ·             F             ·
AUDIT               ·       ·        ·            ·             ·        ·           ·         ·                ·         ·        ·                ·             ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       ·             ·             F
STATISTICS          ·       ·        ·            ·             ·        ·           ·         A                ·         ·        ·                A             ·           ·           A       A        ·      ·   ·          ·               ·            ·              ·       ·             ·             ·
JUDICIAL            M       ·        ·            ·             F*       ·           F*        F*               ·         ·        ·                F*            ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       ·             ·             ·
LOAN_PRECHECK       M*      ·        ·            ·             ·        ·           ·         H*               ·         ·        ·                H*            ·           ·           ·       ·        ·      ·   ·          ·               S*           S*             ·       T*            ·             ·
GUARANTEE_CHECK     ·       ·        ·            ·             ·        ·           ·         H*               ·         ·        ·                H*            ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       T*            ·             ·
LEGAL_REP_CHECK     ·       ·        ·            ·             ·        ·           ·         H*               ·         ·        ·                H*            ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       T*            ·             ·
LOAN_POSTMGMT       ·       ·        ·            ·             ·        ·           ·         H*               ·         ·        ·                H*            ·           ·           ·       ·        ·      ·   ·          ·               ·            ·              ·       T*            ·             ·
COUNTERPARTY        ·       ·        ·            ·             ·        ·           ·         ·                ·         ·        ·                ·             ·           ·           S*      ·        S*     ·   S*         ·               ·            ·              ·       ·             ·             ·
SELF                F       F        F            F             F        F           F         F                F         F        F                F             F           F           F       F        F      F   F          F               F            F              F       ·             F             F
"""

GOVERNMENT = """
Purpose      REG_ORG  CONTRACT  GOV_DISHONESTY  RIGHTS_STATE  ACCESS_LOG
PROCUREMENT  ·        S         S               ·             ·
OBJECTION    F        F         F               F             ·
REPAIR       ·        ·         F               F             ·
AUDIT        ·        ·         ·               ·             F
SELF         ·        F         F               F             F
PUBLIC_VIEW  P        ·         P               ·             ·
"""

DEPARTMENTS = """
Department               LICENSING  COMMITMENT_CHECK  SUPERVISION  PENALTY_DISCRETION  PROCUREMENT  FISCAL_SUPPORT  PERSONNEL  AWARD  LIST_DESIGNATION  MEASURE_CHECK  DATA_QUALITY  OBJECTION  REPAIR  EVALUATION_RUN  AUDIT  STATISTICS  JUDICIAL
CREDIT_AUTHORITY         ·          ·                 ·            ·                   ●            ●               ·          ●      ●                 ·              ●             ●          ●       ●               ●      ●           ·
CREDIT_WORK_INSTITUTION  ·          ·                 ·            ·                   ·            ·               ·          ·      ·                 ·              ●             ●          ●       ●               ·      ·           ·
MARKET_REGULATION        ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
PUBLIC_SECURITY          ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
HRSS                     ●          ●                 ●            ●                   ●            ●               ●          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
NATURAL_RESOURCES        ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
ECOLOGY                  ●          ●                 ●            ●                   ●            ●               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
HOUSING                  ●          ●                 ●            ●                   ●            ●               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
GOVERNMENT_AFFAIRS       ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
TAXATION                 ·          ·                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
FINANCE                  ·          ·                 ●            ●                   ●            ●               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
PUBLIC_RESOURCE          ·          ·                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
TRANSPORT                ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
EMERGENCY_FIRE           ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
HEALTH_DRUG              ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
CIVIL_AFFAIRS            ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
SCIENCE                  ·          ·                 ●            ●                   ●            ●               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
EDUCATION                ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
COMMERCE                 ●          ●                 ●            ●                   ●            ●               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
CUSTOMS                  ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
AGRICULTURE              ●          ●                 ●            ●                   ●            ●               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
WATER                    ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
IP_OFFICE                ·          ·                 ●            ●                   ●            ●               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
STATISTICS               ·          ·                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ●           ·
HOUSING_FUND             ·          ·                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
STAFFING_OFFICE          ·          ·                 ·            ·                   ●            ·               ·          ●      ●                 ·              ·             ●          ●       ·               ·      ·           ·
PERSONNEL                ·          ·                 ·            ·                   ●            ·               ●          ●      ·                 ·              ·             ·          ·       ·               ·      ·           ·
COURT                    ·          ·                 ·            ·                   ●            ·               ·          ●      ●                 ·              ·             ●          ●       ·               ·      ·           ●
PROCURATORATE            ·          ·                 ·            ·                   ●            ·               ·          ●      ·                 ·              ·             ·          ·       ·               ·      ·           ●
SUPERVISION_AUDIT        ·          ·                 ·            ·                   ●            ·               ·          ●      ·                 ·              ·             ·          ·       ·               ●      ·           ·
FINANCIAL_REG            ●          ●                 ●            ●                   ●            ·               ·          ●      ●                 ●              ·             ●          ●       ●               ·      ·           ·
"""

# Written after the matrices were drawn: market and association records by authorization.
ADDED = {
    (ORG, "PROCUREMENT", "MARKET"): "S*",
    (ORG, "PROCUREMENT", "ASSOC"): "S*",
    (ORG, "FISCAL_SUPPORT", "MARKET"): "S*",
    (ORG, "FISCAL_SUPPORT", "ASSOC"): "S*",
    (ORG, "LOAN_PRECHECK", "ASSOC"): "S*",
    (NP, "LOAN_PRECHECK", "MARKET"): "S*",
}
# The rule asks for an authorization where the matrix has no asterisk: the stricter one holds.
STRICTER = {(NP, "PERSONNEL", "HONOUR"): "S*", (NP, "PERSONNEL", "TITLE"): "S*"}
KEYS = {"AUTH_W", "AUTH_SEP", "AUTH_PBOC", "LAW_NAMED", "DUAL"}
LETTERS = {
    "M": Level.MATCH,
    "H": Level.HIT,
    "A": Level.AGGREGATE,
    "P": Level.PUBLIC,
    "S": Level.SUMMARY,
    "T": Level.PASS_THROUGH,
    "F": Level.FULL,
}


def drawn(text: str) -> dict[tuple[str, str], str]:
    header, *rows = (line.split() for line in text.strip().splitlines())
    assert all(len(row) == len(header) for row in rows)
    return {(row[0], column): mark for row in rows for column, mark in zip(header[1:], row[1:], strict=True)}


def cells_of(kind: SubjectKind, purpose: str, category: str) -> list[Cell]:
    found = (TABLE.cell(caller, purpose, kind, category) for caller in BUNDLE.callers)
    return [cell for cell in found if isinstance(cell, Cell)]


def as_drawn(kind: SubjectKind, purpose: str, category: str) -> str:
    """The mark that the table makes: one level for all callers that have the cell at all."""
    marks = {
        (cell.level, bool(KEYS & set(cell.rule.conditions))) for cell in cells_of(kind, purpose, category)
    }
    if not marks:
        return "·"
    ((level, keyed),) = marks
    letter = next(letter for letter, meant in LETTERS.items() if meant is level)
    return letter + "*" * keyed


@pytest.mark.parametrize(
    ("kind", "matrix"), [(ORG, ORGANISATIONS), (IND, ORGANISATIONS), (NP, PERSONS), (GOV, GOVERNMENT)]
)
def test_the_table_is_the_matrix_that_was_drawn(kind: SubjectKind, matrix: str) -> None:
    marks = drawn(matrix)
    corrections = {
        (purpose, category): mark
        for (about, purpose, category), mark in (ADDED | STRICTER).items()
        if about is (ORG if kind is IND else kind)
    }
    assert corrections.keys() <= marks.keys()
    for purpose, category in product(BUNDLE.purposes, BUNDLE.categories):
        expected = (marks | corrections).get((purpose, category), "·")
        if not BUNDLE.categories[category].fits(kind):
            expected = "·"
        assert as_drawn(kind, purpose, category) == expected, (kind, purpose, category)


def test_the_matrices_name_every_purpose_and_category_that_exists() -> None:
    pairs = [*drawn(ORGANISATIONS), *drawn(PERSONS), *drawn(GOVERNMENT)]
    # Two prohibited categories of persons stand in no matrix but that of organisations; none has schema browsing.
    assert {purpose for purpose, _ in pairs} == BUNDLE.purposes.keys() - {"SCHEMA_EXPLORE"}
    assert {category for _, category in pairs} == BUNDLE.categories.keys()


def test_schema_browsing_reaches_no_subject() -> None:
    for category in BUNDLE.categories:
        cell = TABLE.cell("DEVELOPER", "SCHEMA_EXPLORE", NONE, category)
        assert isinstance(cell, Cell)
        assert (cell.level, cell.fields) == (Level.SCHEMA_ONLY, 0)
        assert not any(cells_of(kind, "SCHEMA_EXPLORE", category) for kind in (ORG, IND, NP, GOV))


def test_departments_have_the_purposes_that_were_drawn() -> None:
    for (department, purpose), mark in drawn(DEPARTMENTS).items():
        assert (purpose in TABLE.purposes_of(department)) == (mark == "●"), (department, purpose)


@pytest.mark.parametrize(("category", "line"), [("EVALUATION", "RL01"), ("UTILITY", "RL02")])
def test_the_red_lines_hold_for_everybody(category: str, line: str) -> None:
    for caller, purpose in product(BUNDLE.callers, BUNDLE.purposes):
        found = TABLE.cell(caller, purpose, NP, category)
        assert isinstance(found, RedLine)
        assert found.id == line


def test_a_red_line_overrides_a_rule_that_gives() -> None:
    rule = changed("R077", categories={NP: ("EVALUATION",)})
    table = compile_table(with_rules(BUNDLE, rule), TODAY)
    assert isinstance(table.cell("SUBJECT", "SELF", NP, "EVALUATION"), RedLine)
    assert table.purposes_giving("SUBJECT", NP, "EVALUATION") == ()
