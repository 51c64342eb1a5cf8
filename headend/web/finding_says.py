"""Why a finding is believed, sentence by sentence, kind by kind; and what its evidence says to check first on site."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from headend.web import text
from headend.web.finding_words import METER_PREFIX, Seen, pattern
from headend.web.told import Told

Says = Callable[[Seen], "Told | None"]


def because(seen: Seen) -> tuple[Told, ...]:
    """The sentences of a kind that its numbers allow."""
    sentences = _BECAUSE.get(seen.kind, (_closes,))
    if seen.kind == "under_registering" and seen.meter is None:
        sentences = (_candidates, _closes)
    return tuple(said for one in sentences if (said := one(seen)) is not None)


def checks(seen: Seen) -> tuple[Told, ...]:
    """What the evidence says to look at before all else."""
    return tuple(said for one in _CHECKS.get(seen.kind, ()) if (said := one(seen)) is not None)


def _since(seen: Seen) -> tuple[str, str]:
    return ("", "") if seen.since is None else (f" since {seen.since}", f"自 {seen.since} 起，")


def _follows(seen: Seen) -> Told | None:
    following, told = seen.count("days_following"), seen.count("days_told")
    if following is None or told in (None, "0"):
        return None
    en, zh = _since(seen)
    return Told(
        f"The loss follows this meter’s own course on {following} of {told} days{en}.",
        f"{zh}{told} 天中有 {following} 天损耗随该表自身的用电曲线变化。",
    )


def _closes(seen: Seen) -> Told | None:
    before = seen.kwh("daily_loss_before_wh", "daily_technical_wh")
    after = seen.kwh("daily_loss_after_wh", "daily_technical_wh")
    if before is None or after is None or before == after:
        return None
    return Told(
        f"Put right, the area’s loss goes from {before} to {after} kWh a day; "
        f"{seen.kwh('daily_technical_wh')} kWh of it is technical.",
        f"更正后，台区日损耗由 {before} 变为 {after} kWh，其中技术线损 {seen.kwh('daily_technical_wh')} kWh。",
    )


def _counts(seen: Seen) -> Told | None:
    share = seen.share("registered_share")
    if share is None or seen.energy_wh is None or seen.energy_wh < 0:
        return None
    return Told(f"It counts {share} of what flows through it.", f"仅计量了实际用电的 {share}。")


def _factor(seen: Seen) -> Told | None:
    factor = seen.numbers.get("factor_true_to_read")
    if factor is None:
        return None
    return Told(
        f"What flows is {factor:.3g} times what it shows, hour by hour.",
        f"逐时看，实际电量为读数的 {factor:.3g} 倍。",
    )


def _hours(seen: Seen) -> Told | None:
    if seen.hours is None:
        return None
    first, end = seen.hours
    share = seen.share("peak_share")
    return Told(
        f"{share} of it falls between {first:02d}:00 and {end:02d}:00.",
        f"其中 {share} 发生在 {first:02d}:00 至 {end:02d}:00。",
    )


def _phase(seen: Seen) -> Told | None:
    if not seen.phase:
        return None
    if seen.phases_disagree:
        return Told(
            f"By phase it shows most on L{seen.phase}; but the phases do not come out even without it: that is no "
            "proof of the phase.",
            f"分相看以 L{seen.phase} 相缺失最多；但其余各相也不平衡，不足以断定相别。",
        )
    return Told(f"It is on phase L{seen.phase}.", f"位于 L{seen.phase} 相。")


def _place(seen: Seen) -> Told | None:
    nearest = seen.nearest
    if nearest is None:
        return None
    count = seen.count("place_meters")
    if seen.meter is None:
        return Told(
            f"Of {count} meters’ voltages, those near {nearest} answer it most: it is on the line there. "
            "That accuses nobody.",
            f"{count} 块表的电压中，{nearest} 附近响应最强：位置在该段线路。这并不指认任何人。",
        )
    if nearest == seen.meter:
        return Told(
            f"Of {count} meters’ voltages, this meter’s place explains how they answer best.",
            f"{count} 块表的电压响应以该表位置解释得最好。",
        )
    return Told(
        f"The voltages place it rather at {nearest}: see both.", f"电压显示位置更接近 {nearest}：两处都要查看。"
    )


def _pattern(seen: Seen) -> Told | None:
    return pattern(seen)


def _stands(seen: Seen) -> Told | None:
    days, of = seen.count("days_active"), seen.count("days")
    if days is None or of is None:
        return None
    en, zh = _since(seen)
    before = seen.kwh("daily_reading_before_wh")
    return Told(
        f"The register stands still on {days} of {of} days{en}"
        + (f"; before, it counted {before} kWh a day." if before else "."),
        f"{zh}{of} 天中有 {days} 天示值不走" + (f"；此前每天计量 {before} kWh。" if before else "。"),
    )


def _hidden(seen: Seen) -> Told | None:
    hidden = seen.kwh("daily_hidden_wh")
    return None if hidden is None else Told(f"Meanwhile {hidden} kWh a day are missing.", f"期间每天缺 {hidden} kWh。")


def _candidates(seen: Seen) -> Told | None:
    held = seen.evidence.get("alternatives")
    odds = {k.removeprefix(METER_PREFIX): v for k, v in (held or {}).items() if k.startswith(METER_PREFIX)}
    ranked = sorted(odds, key=lambda name: -(odds[name] or 0.0))[:3]
    if not ranked:
        return None
    english, chinese = ", ".join(ranked), "、".join(ranked)
    return Told(
        f"Some meter’s own course is in the loss; likeliest are {english}, none clearly enough to be accused.",
        f"损耗中含有某块表的用电规律；最可能的是 {chinese}，但都不足以指认。",
    )


def _leaves(seen: Seen) -> Told | None:
    before = seen.kwh("daily_loss_before_wh", "daily_technical_wh")
    after = seen.kwh("daily_loss_after_wh", "daily_technical_wh")
    if before is None or after is None:
        return None
    where = seen.area or "this area"
    return Told(
        f"Without it, the loss of {where} goes from {before} to {after} kWh a day; it reads "
        f"{seen.kwh('daily_reading_wh') or text.MISSING} kWh a day.",
        f"移出后，{seen.area or '本台区'} 的日损耗由 {before} 变为 {after} kWh；"
        f"该表日电量 {seen.kwh('daily_reading_wh') or text.MISSING} kWh。",
    )


def _joins(seen: Seen) -> Told | None:
    before, after = seen.kwh("daily_correct_area_before_wh"), seen.kwh("daily_correct_area_after_wh")
    if before is None or after is None or seen.correct_area is None:
        return None
    return Told(
        f"With it, what {seen.correct_area} cannot explain goes from {before} to {after} kWh a day.",
        f"计入后，{seen.correct_area} 的不明损耗由每天 {before} 变为 {after} kWh。",
    )


def _voltage_follows(seen: Seen) -> Told | None:
    listed, correct = seen.numbers.get("correlation_listed"), seen.numbers.get("correlation_correct")
    if listed is None:
        return None
    if correct is None:
        return Told(
            f"Its voltage follows this area’s busbar with a correlation of {listed:.2f} only.",
            f"其电压与本台区母线的相关系数仅为 {listed:.2f}。",
        )
    return Told(
        f"Its voltage moves with {seen.correct_area} (correlation {correct:.2f}), not with {seen.area or 'this area'} "
        f"({listed:.2f}).",
        f"其电压随 {seen.correct_area} 变化（相关系数 {correct:.2f}），"
        f"而不随 {seen.area or '本台区'}（{listed:.2f}）。",
    )


def _missing(seen: Seen) -> Told | None:
    daily, days, of = seen.kwh("daily_loss_before_wh"), seen.count("days_active"), seen.count("days")
    if daily is None or days is None or of is None:
        return None
    return Told(
        f"Beyond what conductors take, {daily} kWh a day are missing on {days} of {of} days; no meter’s course "
        "explains it.",
        f"除导线损耗外，{of} 天中有 {days} 天每天缺 {daily} kWh；任何表计的曲线都不能解释。",
    )


def _no_energy(seen: Seen) -> Told | None:
    if seen.energy_wh is None:
        return None
    return Told(
        f"In sum the balance is {text.kwh(seen.energy_wh)} kWh: no energy is missing. But it moves more than honest "
        "instruments would.",
        f"合计为 {text.kwh(seen.energy_wh)} kWh：并无电量缺失，但波动大于正常仪表误差。",
    )


def _ratio(seen: Seen) -> Told | None:
    ratio, near, told = seen.numbers.get("ratio_read_to_true"), seen.count("days_following"), seen.count("days_told")
    if ratio is None or near is None or told is None:
        return None
    en, zh = _since(seen)
    where = f" on phase L{seen.phase}" if seen.phase else ""
    return Told(
        f"It shows {ratio:.3g} of what the households take and the conductors lose{where}, on {near} of {told} days"
        f"{en}.",
        f"{zh}{told} 天中有 {near} 天，其示值为用户用电与导线损耗之和的 {ratio:.3g} 倍"
        + (f"（L{seen.phase} 相）。" if seen.phase else "。"),
    )


def _dead_phase(seen: Seen) -> Told | None:
    hours, times = seen.numbers.get("hours_dead"), seen.count("times_dead")
    phase = seen.phase or int(seen.numbers.get("largest_on_phase") or 0)
    if hours is None or times is None or not phase or seen.energy_wh is None:
        return None
    back = bool(seen.numbers.get("back_again"))
    used = text.kwh(abs(seen.energy_wh))
    return Told(
        f"Phase L{phase} showed nothing for {hours:,.0f} hours, {'once' if times == '1' else f'{times} times'}, and "
        f"{'came back' if back else 'is still dead'}; its households used {used} kWh meanwhile.",
        f"L{phase} 相共 {hours:,.0f} 小时无计量（{times} 次），{'现已恢复' if back else '至今未恢复'}；"
        f"期间该相用户用电 {used} kWh。",
    )


def _swapped(seen: Seen) -> Told | None:
    moved = {
        k: int(seen.numbers[f"voltage_of_phase_{k}"]) for k in (1, 2, 3) if f"voltage_of_phase_{k}" in seen.numbers
    }
    if not moved:
        return None
    english = ", ".join(f"the energy of L{k} with the voltage of L{v}" for k, v in moved.items())
    chinese = "，".join(f"L{k} 相电量对应 L{v} 相电压" for k, v in moved.items())
    return Told(f"Its elements combine {english}.", f"各元件接线：{chinese}。")


def _swapped_fit(seen: Seen) -> Told | None:
    recorded, right = seen.numbers.get("correlation_recorded"), seen.numbers.get("correlation_right")
    if recorded is None or right is None:
        return None
    return Told(
        f"The households’ voltages follow that order with a correlation of {right:.2f}, the recorded one with "
        f"{recorded:.2f}. No energy is missing.",
        f"用户电压与该接法的相关系数为 {right:.2f}，与记录的接法为 {recorded:.2f}。并无电量缺失。",
    )


def _measured(seen: Seen) -> Told | None:
    share = seen.share("measured_share")
    if share is None:
        return None
    lacking, meters = seen.count("meters_lacking_data"), seen.count("meters")
    if lacking is not None and meters is not None:
        return Told(
            f"{lacking} of {meters} meters lack readings; {share} of all intervals were measured.",
            f"{meters} 块表中有 {lacking} 块缺数；全部时段中 {share} 有读数。",
        )
    return Told(f"{share} of its intervals were measured.", f"其时段中 {share} 有读数。")


def _gap(seen: Seen) -> Told | None:
    hours = seen.count("longest_gap_h")
    return None if hours is None else Told(f"The longest gap is {hours} hours.", f"最长空缺 {hours} 小时。")


def _estimated(seen: Seen) -> Told | None:
    hours = seen.count("longest_estimate_h")
    if hours is None or hours == "0":
        return None
    return Told(f"It was estimated for {hours} hours without a break.", f"连续估算 {hours} 小时。")


def _to_nothing(seen: Seen) -> Told | None:
    if seen.energy_wh is None:
        return None
    energy = text.kwh(seen.energy_wh)
    return Told(
        f"What is missing in one hour is too much in another: {energy} kWh in sum over the window.",
        f"此时段所缺，彼时段所多：整个窗口合计 {energy} kWh。",
    )


_BECAUSE: Final[Mapping[str, tuple[Says, ...]]] = {
    "under_registering": (_follows, _closes, _counts, _pattern, _hours, _place),
    "stuck": (_stands, _hidden, _closes, _place),
    "wrong_multiplier": (_factor, _follows, _closes, _place),
    "wrong_area": (_leaves, _joins, _voltage_follows),
    "direct_tap": (_missing, _phase, _hours, _place),
    "unexplained": (_no_energy,),
    "area_meter_ratio": (_ratio, _closes),
    "area_meter_phase": (_dead_phase, _closes, _swapped, _swapped_fit),
    "reversed_polarity": (_ratio, _closes),
    "missing_data": (_measured, _gap),
    "prolonged_estimation": (_estimated, _measured),
    "clock_skew": (_follows, _pattern, _to_nothing),
}


def _at_hours(seen: Seen) -> Told | None:
    if seen.hours is None:
        return None
    first, end = seen.hours
    return Told(
        f"Come between {first:02d}:00 and {end:02d}:00: most is missing then.",
        f"请在 {first:02d}:00 至 {end:02d}:00 到场：此时缺失最多。",
    )


def _on_phase(seen: Seen) -> Told | None:
    if not seen.phase:
        return None
    return Told(f"Begin with phase L{seen.phase}.", f"先查 L{seen.phase} 相。")


def _near(seen: Seen) -> Told | None:
    nearest = seen.nearest
    if nearest is None or nearest == seen.meter:
        return None
    if seen.meter is not None:
        return Told(
            f"Look at the line near {nearest} too: the voltages speak rather for that place.",
            f"同时查看 {nearest} 附近线路：电压更倾向于该处。",
        )
    return Told(f"Begin with the line near {nearest}.", f"先查 {nearest} 附近线路。")


def _which_ratio(seen: Seen) -> Told | None:
    factor = seen.numbers.get("factor_true_to_read")
    if factor is None:
        return None
    return Told(
        f"Expect a multiplier of {factor:.3g} times the one on record.", f"实际倍率应约为档案倍率的 {factor:.3g} 倍。"
    )


def _ask_there(seen: Seen) -> Told | None:
    if seen.correct_area is None:
        return None
    return Told(f"Look for it at {seen.correct_area} first.", f"先到 {seen.correct_area} 查找。")


def _candidates_first(seen: Seen) -> Told | None:
    return (
        None
        if seen.meter is not None
        else Told(
            "Send nobody to a single door yet: compare the candidates’ seals and loads on one round.",
            "暂不单独上门：一次巡查中比对各候选表的封印与负荷。",
        )
    )


def _cap(seen: Seen) -> Told | None:
    if seen.evidence.get("pattern") != "plateau":
        return None
    return Told(
        "Switch on a large load: does the display follow beyond its usual highest level?",
        "接入大负荷：显示是否能超过平时的最高水平？",
    )


_CHECKS: Final[Mapping[str, tuple[Says, ...]]] = {
    "under_registering": (_candidates_first, _at_hours, _cap, _near),
    "stuck": (_at_hours,),
    "wrong_multiplier": (_which_ratio,),
    "wrong_area": (_ask_there,),
    "direct_tap": (_on_phase, _near, _at_hours),
    "area_meter_ratio": (_on_phase,),
    "area_meter_phase": (_on_phase,),
    "reversed_polarity": (_on_phase,),
}
