"""The words of the completeness page."""

from __future__ import annotations

COMPLETENESS_TEXTS: dict[str, tuple[str, str]] = {
    "nav.completeness": ("Completeness", "完整率"),
    "cpl.month": ("Received of expected, by day", "每日应收与实收"),
    "cpl.all": ("all meters this month", "本月全部电表"),
    "cpl.poor_days": ("days below {limit} %", "低于 {limit} % 的天数"),
    "cpl.day": ("What became of each slot on {day}", "{day} 各采集点去向"),
    "cpl.before": ("earlier month", "上月"),
    "cpl.after": ("later month", "下月"),
    "cpl.share": ("complete", "完整率"),
    "cpl.expected": ("expected", "应收"),
    "cpl.received": ("received", "实收"),
    "cpl.late": ("late", "迟到"),
    "cpl.empty": ("no value", "无值"),
    "cpl.silent": ("not read", "未读到"),
    "cpl.lost": ("lost", "丢失"),
    "cpl.coming": ("on the way", "在途"),
    "cpl.off": ("gateway off", "网关停运"),
    "cpl.unexplained": ("unexplained", "原因不明"),
    "cpl.estimated": ("estimated", "估算"),
    "cpl.quarters": ("{count} × 15 min", "{count} × 15 分钟"),
    "cpl.boundary": ("midnight", "日界"),
    "cpl.boundary_ok": ("within 1 min", "1 分钟内"),
    "cpl.boundary_bad": ("no value within 1 min", "1 分钟内无值"),
    "cpl.boundary_open": ("day runs", "当日进行中"),
    "cpl.every": ("every {period} s", "每 {period} 秒"),
    "cpl.none": ("Nothing was expected of any meter in this time.", "该时段内没有任何电表应上报数据。"),
    "cpl.legend": (
        (
            "A slot is a moment at which the plan asks for the meter's counter. Each is received, or just one column"
            " says what became of it. Late values change days that are over. Below {limit} % a day counts as"
            " incomplete."
        ),
        (
            "采集点指按计划读取电表计量值的时刻。每个采集点要么已收到，要么由唯一一列说明去向。"
            "迟到数据会更新已结束的日期。低于 {limit} % 视为不完整。"
        ),
    ),
    "cpl.audit": ("Hours stated by the gateways, held against the store", "网关小时声明与存储核对"),
    "cpl.audit_row": (
        "{fits} fit up to {until}; not all here {waiting}, lost {lost}, gone {missing}, changed {differs}",
        "截至 {until} 相符 {fits} 小时；未到齐 {waiting}，声明丢失 {lost}，缺失 {missing}，不符 {differs}",
    ),
    "cpl.audit_none": ("no hour stated yet", "尚无小时声明"),
    "gone.silent": ("silent", "无应答"),
    "gone.garbled": ("garbled", "报文错误"),
    "gone.line-down": ("line down", "线路中断"),
    "gone.overrun": ("line too slow", "总线来不及"),
    "gone.stalled": ("gateway stood still", "网关停顿"),
    "gone.gateway-overrun": ("disk too slow", "磁盘来不及"),
    "gone.gateway-unsendable": ("not sendable", "无法编码"),
    "gone.quota": ("disk quota", "磁盘配额"),
    "gone.bitrot": ("disk damage", "磁盘损坏"),
    "gone.missing": ("journal incomplete", "日志缺失"),
    "gone.regression": ("old disk put back", "磁盘回退"),
    "gone.disk-trouble": ("disk failed", "磁盘故障"),
    "gone.pruned": ("too old, removed", "超期已清理"),
    "gone.refused": ("refused", "被拒收"),
    "cpl.today": ("of today's slots received", "今日应收已收"),
    "cpl.weekdays": ("MTWTFSS", "一二三四五六日"),
}
