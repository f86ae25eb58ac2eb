"""Registrations from a CSV file, kept exactly as filed, for the provincial platform."""

import csv
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TextIO

from connectors.sandbox.facts import Registration

COLUMNS = ("name", "credit_code", "registered_on", "capital", "business_scope", "province", "city", "address")

_CREDIT_CODE = re.compile(r"[0-9A-HJ-NPQRTUWXY]{2}[0-9]{6}[0-9A-HJ-NPQRTUWXY]{10}")


class RegistrationsError(ValueError):
    """A file of registrations that cannot be loaded; names file, line and column, never a value."""


def load_registrations(path: Path) -> list[Registration]:
    """Read a UTF-8 CSV file with the columns of `COLUMNS`, in any order.

    Texts are kept as they are; a wrong check digit in a credit code is kept too, since such codes are
    registered. Raises `RegistrationsError`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_registrations(path, file))
    except OSError as error:
        raise RegistrationsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RegistrationsError(f"{path}: not UTF-8 (byte {error.start})") from error
    except csv.Error as error:
        raise RegistrationsError(f"{path}: not CSV: {error}") from error


def _registrations(path: Path, file: TextIO) -> Iterator[Registration]:
    lines = csv.reader(file)
    header: list[str] = next(lines, [])
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise RegistrationsError(f"{path}: line 1: missing column {missing[0]}")
    seen: dict[str, int] = {}
    for cells in lines:
        number = lines.line_num
        if len(cells) != len(header):
            raise RegistrationsError(
                f"{path}: line {number}: {len(cells)} cells, the header has {len(header)}"
            )
        row = dict(zip(header, cells, strict=True))
        code = row["credit_code"]
        if not row["name"]:
            raise RegistrationsError(f"{path}: line {number}, column name: empty")
        if not _CREDIT_CODE.fullmatch(code):
            raise RegistrationsError(
                f"{path}: line {number}, column credit_code: not a credit code of 18 characters"
            )
        if code in seen:
            raise RegistrationsError(
                f"{path}: line {number}, column credit_code: already in line {seen[code]}"
            )
        seen[code] = number
        yield _registration(row, _day(path, number, row["registered_on"]), len(seen))


def _day(path: Path, number: int, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise RegistrationsError(
            f"{path}: line {number}, column registered_on: not a date YYYY-MM-DD"
        ) from error


def _registration(row: dict[str, str], registered: date, serial: int) -> Registration:
    return Registration(
        number=f"ZC{serial:07d}",
        provider="市场监督管理部门",
        published=registered,
        name=row["name"],
        credit_code=row["credit_code"],
        registered=registered,
        capital=row["capital"],
        business_scope=row["business_scope"],
        address=row["address"],
        province=row["province"],
        city=row["city"],
    )
