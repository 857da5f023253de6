"""The energy report as it is shown: each figure with its edition and coverage, each refusal with its reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from analytics.benchmarks.load_shape import LoadShape
from analytics.benchmarks.specific_energy import SpecificEnergy
from analytics.carbon import CarbonAccount, Purpose
from analytics.conversion import Conversion
from analytics.fitness import NotFit
from headend.energy_report import EnergyReport, ProductUse, energy_report
from headend.web.shown import EnergyData, FactorLine, LoadLine, Name, ProductLine, Refusal
from headend.web.views import Views, name_of
from meterline.clock import NS
from meterline.factors import Factor


class EnergyViews:
    """Makes the report's view for a period.

    Parameters
    ----------
    purpose : Purpose or None
        Decides the grid's factor; without it there are no carbon figures.
    """

    def __init__(self, views: Views, factors: Sequence[Factor], purpose: Purpose | None) -> None:
        self._views, self._factors, self._purpose = views, factors, purpose

    def today(self, now_ns: int) -> dt.date:
        """The plant's date."""
        return dt.datetime.fromtimestamp(now_ns // NS, tz=self._views.zone).date()

    def report(self, first: dt.date, last: dt.date, now_ns: int) -> EnergyData:
        """The figures of some days. Raises ValueError if the last is before the first."""
        report = energy_report(
            self._views.queries,
            self._views.plant,
            self._factors,
            first=first,
            last=last,
            now_ns=now_ns,
            purpose=self._purpose,
        )
        return self._shown(report)

    def _shown(self, report: EnergyReport) -> EnergyData:
        carbon = report.carbon
        account = carbon if isinstance(carbon, CarbonAccount) else None
        return EnergyData(
            first=report.first.isoformat(),
            last=report.last.isoformat(),
            purpose=self._purpose.value if self._purpose else None,
            coal=_lines(report.coal, report),
            coal_t=report.coal.total_t,
            carbon=(*_lines(account.scope1, report), *_lines(account.scope2, report)) if account else (),
            carbon_t=account.total_t if account else None,
            carbon_refused=_refusal(carbon),
            load=self._load(report.load),
            load_refused=_refusal(report.load),
            products=tuple(_product(use) for use in report.products),
        )

    def _load(self, load: LoadShape | NotFit) -> LoadLine | None:
        if isinstance(load, NotFit):
            return None
        return LoadLine(
            mean_kw=load.mean_kw,
            peak_kw=load.peak_kw,
            peak_at=self._views.iso(load.peak_start_ns),
            load_factor=load.load_factor,
            base_kw=load.base_kw,
            base_share=load.base_share,
            coverage=load.coverage,
        )


def _lines(conversion: Conversion, report: EnergyReport) -> tuple[FactorLine, ...]:
    done = tuple(
        FactorLine(
            carrier=line.carrier,
            amount=line.amount,
            unit=line.unit,
            coverage=line.coverage,
            factor=line.factor.value,
            factor_unit=line.factor.unit,
            factor_name=Name(line.factor.name_en, line.factor.name_zh),
            edition=line.factor.edition,
            result_t=line.result_t,
            indicative=line.indicative,
            refused=None,
        )
        for line in conversion.lines
    )
    used = {use.carrier.value: use for use in report.carriers}
    refused = tuple(
        FactorLine(
            carrier=carrier,
            amount=used[carrier].amount,
            unit=used[carrier].unit,
            coverage=used[carrier].coverage,
            factor=None,
            factor_unit="",
            factor_name=None,
            edition="",
            result_t=None,
            indicative=False,
            refused=_refusal(reason),
        )
        for carrier, reason in conversion.refused
    )
    return (*done, *refused)


def _product(use: ProductUse) -> ProductLine:
    result, benchmark = use.result, use.product.benchmark
    fits = result if isinstance(result, SpecificEnergy) else None
    return ProductLine(
        product=name_of(use.product.name),
        start=use.output.start.isoformat(),
        end=use.output.end.isoformat(),
        output=use.output.amount,
        output_unit=use.product.unit,
        value=fits.value if fits else None,
        unit=fits.unit if fits else "",
        grade=fits.grade.value if fits and fits.grade else None,
        to_next=fits.to_next if fits else None,
        limit=benchmark.limit if benchmark else None,
        source=benchmark.source if benchmark else "",
        refused=_refusal(result),
    )


def _refusal(result: object) -> Refusal | None:
    if not isinstance(result, NotFit):
        return None
    reason = result.reasons[0]
    return Refusal(reason.code, reason.need, reason.have)
