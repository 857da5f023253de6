"""What the commands about energy say."""

from __future__ import annotations

ENERGY_TEXTS: dict[str, tuple[str, str]] = {
    # --- trace
    "trace.head": ("{meter} ({name}), {measurand}", "{meter}（{name}），{measurand}"),
    "trace.interval": ("Interval {start} - {end}: {value}", "区间 {start} – {end}：{value}"),
    "trace.nothing": ("nothing is known", "无数据"),
    "trace.accounted": (
        "  revision {revision} of {at} ({reason}); measured {coverage}; {quality}",
        "  第 {revision} 版，{at}（{reason}）；实测 {coverage}；{quality}",
    ),
    "trace.earlier": (
        "  before: revision {revision}, {value} ({reason})",
        "  此前：第 {revision} 版，{value}（{reason}）",
    ),
    "trace.event": ("  the counter: {event}", "  表码事件：{event}"),
    "trace.reading": (
        "{number}. The display showed {shown} when read at {at} ({quality})",
        "{number}. {at} 读得显示值 {shown}（{quality}）",
    ),
    "trace.ratio": (
        "   primary {primary}, with {ratio}, in force since {since}",
        "   一次值 {primary}，变比 {ratio}，自 {since} 起",
    ),
    "trace.instrument": (
        "   profile {profile}; serial {serial}, class {accuracy}, certificate {certificate} until {until}",
        "   点表 {profile}；表号 {serial}，准确度 {accuracy}，检定证书 {certificate}，有效期至 {until}",
    ),
    "trace.batch": (
        "   batch {seq} of gateway {gateway}, epoch {epoch}, row {place}",
        "   网关 {gateway}，世代 {epoch}，批次 {seq}，第 {place} 行",
    ),
    "trace.signature": ("   signature {verdict}; digest {digest}", "   签名{verdict}；摘要 {digest}"),
    "trace.verified": ("verified with the gateway's key", "已用网关公钥验证"),
    "trace.wrong": ("DOES NOT FIT the gateway's key", "与网关公钥不符"),
    "trace.no_key": ("not checked: no key of this gateway in headend.yaml", "未验证：headend.yaml 中无该网关公钥"),
    "trace.unreadable": ("unreadable", "无法解读"),
    "trace.made": (
        "   formed {at} by {software}; clock {clock}",
        "   生成于 {at}，软件 {software}；时钟 {clock}",
    ),
    "trace.redated": (
        "   the gateway's clock was not set when this was read; the times were corrected by {ms} ms",
        "   读取时网关时钟未校准，时间已修正 {ms} 毫秒",
    ),
    "trace.frames_hash": (
        "   frames on the wire: kept by the gateway (--gateway-data), SHA-256 {hash}",
        "   线上报文保存在网关（--gateway-data），SHA-256 {hash}",
    ),
    "trace.frames_fit": (
        "   frames on the wire, as signed:",
        "   线上报文，与签名一致：",
    ),
    "trace.frames_differ": ("   the frames kept there are NOT those that were signed:", "   所存报文与签名不符："),
    "trace.no_evidence": ("The store has no batch for it any more.", "存储中已无对应批次。"),
    # --- energy, balance
    "energy.subject": ("subject", "对象"),
    "energy.name": ("name", "名称"),
    "energy.begin": ("from", "起始"),
    "energy.amount": ("amount", "用量"),
    "energy.u": ("U (k = 2)", "扩展不确定度 (k = 2)"),
    "energy.unit": ("unit", "单位"),
    "energy.share": ("measured", "实测"),
    "energy.quality": ("quality", "质量"),
    "energy.unknown": ("unknown", "未知"),
    "energy.written": ("{rows} rows written to {file}", "已将 {rows} 行写入 {file}"),
    "energy.no_class": (
        "* without the class of the instruments: accuracy_class (ct_class, vt_class) is not in the site file",
        "* 未计入器具准确度：站点文件中缺少 accuracy_class（ct_class、vt_class）",
    ),
    "balance.node": ("meter", "仪表"),
    "balance.name": ("name", "名称"),
    "balance.day": ("from", "起始"),
    "balance.in": ("in", "进线"),
    "balance.below": ("metered below", "下级合计"),
    "balance.residual": ("residual", "差额"),
    "balance.u": ("U (k = 2)", "扩展不确定度 (k = 2)"),
    "balance.verdict": ("verdict", "结论"),
    "balance.closed": ("within uncertainty", "在不确定度内"),
    "balance.open": ("OPEN", "不平衡"),
    "balance.wrong_ratio": ("{meter}: ratio off by a step?", "{meter}：变比可能错误"),
    "balance.reversed_ct": ("{meter}: one CT reversed?", "{meter}：可能有一相互感器反接"),
    "balance.unmetered": ("unmetered load, losses or a bypass", "未计量负荷、损耗或旁路"),
    "balance.topology": ("a meter that is not fed from here?", "可能有仪表不由此供电"),
    "balance.none": (
        "No period is over yet, or no meter feeds another (fed_by in the site file).",
        "尚无完整周期，或没有仪表填写 fed_by（上级表）。",
    ),
    # --- cost
    "cost.head": ("{title} ({edition})", "{title}（{edition}）"),
    "cost.subject": ("{subject}, {begin} - {end}", "{subject}，{begin} – {end}"),
    "cost.refused": ("{subject}: {reason}", "{subject}：{reason}"),
    "cost.band": ("band", "时段"),
    "cost.kwh": ("kWh", "kWh"),
    "cost.part": ("share", "占比"),
    "cost.yuan": ("yuan", "元"),
    "cost.sum": ("sum", "合计"),
    "cost.missing": (
        "{quarters} quarter-hours are not known; they are in no band and cost nothing here.",
        "有 {quarters} 个 15 分钟区间未知，未计入任何时段和费用。",
    ),
    "cost.unpriced": (
        "{kwh} kWh have no price: put `prices` into a copy of the tariff and give it with --tariff.",
        "{kwh} kWh 没有电价：请复制电价文件填写 prices，并用 --tariff 指定。",
    ),
    "cost.peak": (
        "Largest quarter-hour {kw} kW at {at}; indicative, a bill goes by the meter's own register.",
        "最大 15 分钟需量 {kw} kW，{at}；仅供参考，以电表需量寄存器为准。",
    ),
    "cost.pf": ("Power factor {pf}", "功率因数 {pf}"),
    "cost.adjustment": ("Power-factor adjustment {pct} %: {yuan} yuan", "力调电费 {pct} %：{yuan} 元"),
    "quality.good": ("good", "正常"),
}
