"""The validation rules in force, the rule sets that judged settled days, and what they found on an area's day."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from headend.api.deps import Day, PartsDep, ReadDep, invalid, unknown
from headend.api.errors import describe
from headend.settlement import judgement
from headend.store import rule_sets

router = APIRouter(tags=["validation"])


class Threshold(BaseModel):
    """One number that a rule goes by."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["factor"])
    value: float = Field(examples=[3.0])
    unit: str = Field(description="empty: a pure number", examples=[""])
    says: str
    default: float
    of_category: dict[str, float] = Field(description="where it differs", examples=[{"production": 6.0}])


class Rule(BaseModel):
    """One validation rule."""

    model_config = ConfigDict(from_attributes=True)

    code: str = Field(examples=["spike"])
    version: int
    flag: int = Field(description="its bit in an interval's flags", examples=[1024])
    says: str
    enabled: bool
    of_category: dict[str, bool] = Field(description="whether it runs, where that differs")
    thresholds: list[Threshold]


class Method(BaseModel):
    """One way of estimating."""

    model_config = ConfigDict(from_attributes=True)

    code: str = Field(examples=["by_line"])
    version: int
    flag: int = Field(description="0: the quality says it all")
    says: str


class RulesInForce(BaseModel):
    """Everything that judges and estimates from now on."""

    model_config = ConfigDict(from_attributes=True)

    rule_set: int | None = Field(description="as settled days name it; null: nothing was settled by it yet")
    rules: list[Rule]
    estimation: list[Method]
    registers: dict[str, float | list[str]] = Field(
        description="how registers become intervals, and which days count otherwise than by their weekday"
    )


class RuleSet(BaseModel):
    """Rules that judged settled days, as they were then; never rewritten."""

    id: int
    first_used_at: datetime | None = Field(description="null: before rule sets were kept")
    rules: dict[str, Any]


class RuleFound(BaseModel):
    """How often one flag stands on an area's day."""

    model_config = ConfigDict(from_attributes=True)

    code: str = Field(examples=["spike"])
    intervals: int
    usage_points: int
    worst: dict[str, int] = Field(description="usage point → intervals, the most first", examples=[{"A1-007": 4}])


class AreaValidation(BaseModel):
    """What the rules found on an area's local day."""

    model_config = ConfigDict(from_attributes=True)

    area: str
    day: date
    rule_sets: list[int] = Field(description="several while some of it has not been settled since the rules changed")
    usage_points: int = Field(description="metering points that were settled; 0: the day has not been")
    intervals: int
    flagged: int = Field(description="intervals with anything wrong")
    found: list[RuleFound]
    worst: dict[str, int] = Field(description="usage point → intervals with anything wrong, the most first")


@router.get("/validation/rules", summary="Validation rules in force", responses=describe())
def list_rules(parts: PartsDep, connection: ReadDep) -> RulesInForce:
    """Every rule with version, thresholds and what differs for a category, as this process is configured."""
    return RulesInForce.model_validate(judgement.in_force(connection, parts.settings))


@router.get("/validation/rule-sets/{number}", summary="A rule set", responses=describe(404))
def one_rule_set(number: Annotated[int, Path(ge=1, le=32767)], connection: ReadDep) -> RuleSet:
    """The rules, versions and thresholds that a settled day names."""
    found = rule_sets.get(connection, [number]).get(number)
    if found is None:
        raise unknown("rule-set", number)
    return RuleSet(id=found.number, first_used_at=found.first_used_at, rules=found.rules)


@router.get("/areas/{code}/validation", summary="What validation found on an area's day", responses=describe(404))
def area_validation(
    code: str,
    parts: PartsDep,
    connection: ReadDep,
    day: Annotated[Day | None, Query(description="local day; default: yesterday")] = None,
) -> AreaValidation:
    """Counts by rule, and the usage points with the most intervals that something is wrong with."""
    try:
        found = judgement.judged(connection, code, day or parts.today - timedelta(days=1), parts.calendar)
    except LookupError:
        raise unknown("area", code) from None
    except OverflowError as error:
        raise invalid("day", f"{day} is at the end of the calendar") from error
    return AreaValidation.model_validate(found)
