"""What ``plan`` and the benches of lines say; see `meterline.cli.texts`."""

from __future__ import annotations

PLAN_TEXTS: dict[str, tuple[str, str]] = {
    "plan.rates": (
        "Rates: fast each {fast} s, normal each {normal} s, slow each {slow} s.",
        "采集周期：快速 {fast} 秒，普通 {normal} 秒，慢速 {slow} 秒。",
    ),
    "plan.wire": ("on the wire s", "线上时间 s"),
    "plan.round": ("a round s", "整轮 s"),
    "plan.counters": ("counters in s", "电量读完 s"),
    "plan.dead_first": ("just dead s", "刚失联 s"),
    "plan.dead_after": ("dead a minute s", "失联一分钟后 s"),
    "plan.busy": ("busy", "占用率"),
    "plan.verdict": ("verdict", "结论"),
    "plan.fine": ("fine", "可行"),
    "plan.tight": ("tight", "紧张"),
    "plan.too-slow": ("too slow", "过慢"),
    "plan.impossible": ("impossible", "不可能"),
    "plan.explained": (
        "A round: all meters, asked for everything that is ever due together. Counters in: how soon after a quarter hour all counters are read. Just dead, dead a minute: a round with {dead} dead meter(s).",
        "整轮：所有仪表读取一次可能同时到期的全部测点。电量读完：整刻后多久读完全部电量。刚失联、失联一分钟后：有 {dead} 块仪表失联时的整轮时间。",
    ),
    "plan.warn_too_slow": (
        "Bus {bus}: wished for {busy} of its time with usual answer times. Slots will be skipped, evenly. Ask more seldom, raise the baud rate, or use another line; give measured answer times with --turnaround.",
        "总线 {bus}：按通常的应答时间需占用 {busy}。将均匀跳过部分采集点。请降低采集频率、提高波特率或增加线路；可用 --turnaround 给出实测应答时间。",
    ),
    "plan.warn_tight": (
        "Bus {bus}: busy {busy} of the time, little room for retries and dead meters.",
        "总线 {bus}：占用率 {busy}，重试和失联仪表的余量很小。",
    ),
}

PLAN_PROBLEMS_ZH: tuple[tuple[str, str], ...] = (
    (
        r"the line would be busy (?P<n>\S+) of the time even if every meter answered at once",
        "即使所有仪表立即应答，线路占用率也达 {n}",
    ),
    (
        r"ask more seldom \(rates\), raise the baud rate, or spread the meters over more lines",
        "请降低采集频率（rates）、提高波特率，或把仪表分到更多线路",
    ),
)
