"""The table of kinds of findings: words, severity, and what to look at first, in English and Chinese.

The kinds have the names that the labelled data sets use where they know the thing, so that what is said and what is
scored is one word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Severity(StrEnum):
    """How soon someone should look."""

    INFO = "info"
    WARNING = "warning"
    ALARM = "alarm"

    @property
    def rank(self) -> int:
        return ("info", "warning", "alarm").index(self.value)


@dataclass(frozen=True, slots=True)
class Words:
    """A text in the two languages of the plant."""

    en: str
    zh: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table of kinds.

    Attributes
    ----------
    about : str
        ``meter`` (the meter or its wiring lies), ``use`` (the plant uses energy without need), ``comm`` (nothing
        arrives).
    severity : Severity
        Where the detector has no reason to differ.
    title, meaning : Words
    check_first : tuple of Words
        In order: the likeliest and cheapest first.
    """

    about: str
    severity: Severity
    title: Words
    meaning: Words
    check_first: tuple[Words, ...]


def _row(
    about: str, severity: Severity, title: str, title_zh: str, meaning: str, meaning_zh: str, *checks: str
) -> Kind:
    pairs = tuple(Words(en, zh) for en, zh in zip(checks[::2], checks[1::2], strict=True))
    return Kind(about, severity, Words(title, title_zh), Words(meaning, meaning_zh), pairs)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "gap": _row(
            "comm", Severity.ALARM, "Meter is silent", "电表无数据",
            "No usable reading has come from this meter. Its energy is still counted inside the meter and will be "
            "complete when it answers again; only the distribution over time is lost.",
            "该电表没有可用读数。电能仍在表内累计，恢复通信后总量完整，只损失时间分布。",
            "Is the meter powered (display on)?", "电表是否有电（显示屏亮）？",
            "Do other meters on the same line answer? If none does: cable, converter, terminator, gateway.",
            "同一总线上其他电表是否应答？若都不应答：检查电缆、转换器、终端电阻、网关。",
            "Address, baud rate and parity after a meter exchange.", "换表后的地址、波特率和校验位设置。",
        ),
        "stuck": _row(
            "meter", Severity.ALARM, "Value is frozen", "数值冻结",
            "The meter (or the gateway in front of it) repeats old values: the load shown is not the load there is.",
            "电表（或前置网关）重复旧值：显示的负荷不是实际负荷。",
            "Compare the meter's own display with the page.", "将电表显示屏与页面数值对比。",
            "Restart the serial server or data concentrator in front of the meter.",
            "重启电表前端的串口服务器或集中器。",
            "If the display itself stands still under load, the meter is defective.",
            "若带负荷时显示屏本身不变，则电表故障。",
        ),
        "zero": _row(
            "meter", Severity.ALARM, "Reads zero although voltage is there", "有电压但读数为零",
            "The meter shows no power and its counter stands still in time in which it normally shows load.",
            "在通常有负荷的时段，电表功率为零且电量不走。",
            "Is the plant really off? If so: confirm, nothing is wrong.", "设备确实停运吗？若是，请确认，无故障。",
            "Are the current transformers' secondary terminals shorted (test block)?",
            "电流互感器二次端子是否被短接（试验端子）？",
            "Is the load fed past the meter?", "负荷是否绕过电表供电？",
        ),
        "spike": _row(
            "meter", Severity.WARNING, "Impossible value or jump", "数值越限或跳变",
            "One or a few readings cannot be: beyond the connection's rating, or far from both neighbours. They are "
            "kept as they came and left out of the energy account.",
            "个别读数不可能成立：超出额定容量，或与前后读数相差过大。原值保留，不计入电能账。",
            "Rated power of this meter in the site file: is it right?", "站点文件中该表的额定功率是否正确？",
            "Word order and scaling in the meter's profile.", "电表配置文件中的字序和倍率。",
            "Interference on the RS-485 line: shield, terminator, route beside inverters.",
            "RS-485 线路干扰：屏蔽层、终端电阻、是否与变频器电缆并行。",
        ),
        "cover_opened": _row(
            "meter", Severity.ALARM, "Meter was opened", "电表被开盖",
            "The meter itself has counted that its cover or its terminal cover was opened.",
            "电表自身记录：表盖或端钮盒被打开。",
            "Who was at the meter at that time, and on whose order?", "当时谁在现场，受谁委派？",
            "Seals: are they whole, and are their numbers those of the ledger?", "铅封是否完好，编号是否与台账一致？",
            "Terminals and current transformers: is anything bridged?", "接线端子和互感器有无短接？",
        ),
        "meter_changed": _row(
            "meter", Severity.WARNING, "Meter was programmed or cleared", "电表被编程或清零",
            "The meter itself has counted that it was programmed, or that its counters, demand or events were cleared.",
            "电表自身记录：被编程，或电量、需量、事件被清零。",
            "Was this ordered? Enter who did it and why.", "是否有工单？请录入操作人和原因。",
            "Ratio, tariff times and constants of the meter against the ledger.",
            "核对电表变比、时段和常数与台账是否一致。",
        ),
        "clock_drift": _row(
            "meter", Severity.WARNING, "Meter's clock is off", "电表时钟超差",
            "The clock inside the meter is more than a minute from ours: its tariffs change and its days end at the "
            "wrong time.",
            "表内时钟与系统时间相差超过一分钟：费率切换和日冻结时刻不准。",
            "Set the clock at the meter; for small drifts allow the daily broadcast of the time (broadcasts: [time]).",
            "现场校时；偏差较小时可启用每日广播校时（broadcasts: [time]）。",
            "Battery of the meter's clock (status word 1, bit 2).", "电表时钟电池（状态字1第2位）。",
        ),
        "other_meter": _row(
            "meter", Severity.ALARM, "Another meter answers", "应答的不是台账中的电表",
            "The number the meter gives is not the one in the site file. Its readings belong to another meter, or the "
            "ledger is wrong.",
            "电表返回的表号与站点文件不符：读数属于另一块表，或台账有误。",
            "Was the meter exchanged? Enter the exchange with both readings.", "是否换表？请录入换表记录及新旧表底数。",
            "Cables or addresses of two meters swapped?", "是否两块表的线缆或地址互换？",
        ),
        "counter_jump": _row(
            "meter", Severity.ALARM, "Counter jumped", "电量示值突变",
            "The counter went on from another value, faster than the connection could ever have carried. The energy of "
            "this step is unknown and is not booked.",
            "电量示值突变到另一数值，超过线路可能输送的电能。该段电能未知，不予计入。",
            "Was the meter exchanged or its counter set? Enter the exchange with both readings.",
            "是否换表或重设示值？请录入换表记录及新旧表底数。",
            "Was the transformer ratio inside the meter changed?", "电表内部变比是否被修改？",
        ),
        "counter_reset": _row(
            "meter", Severity.ALARM, "Counter started again from zero", "电量示值清零",
            "The counter fell to zero and goes on from there. What was used since the last reading is not known.",
            "电量示值归零后继续累计。归零前最后一次读数之后的用电量未知。",
            "Was the meter exchanged or reset? Enter the exchange with both readings.",
            "是否换表或清零？请录入换表记录及新旧表底数。",
            "Event log of the meter: cover opened, power lost, parameters changed.",
            "查看电表事件记录：开盖、掉电、改参数。",
        ),
        "counter_rollover": _row(
            "meter", Severity.INFO, "Counter rolled over", "电量示值翻转",
            "The display reached its end and began again, as designed. The energy account goes on without loss.",
            "示值达到最大后从零开始，属正常现象，电能账连续无损失。",
            "Nothing. Check the digits entered in the profile if this comes too often.",
            "无需处理。若频繁出现，请检查配置文件中的示值位数。",
        ),
        "counter_backwards": _row(
            "meter", Severity.ALARM, "Counter runs backwards", "电量示值倒走",
            "An import counter can only grow. It showed less than before, without a roll-over or an exchange: energy "
            "flowed the other way, the meter is wired or set wrongly, or its digits are read wrongly. The fall is not "
            "booked.",
            "正向电量只能增加。示值低于上次且无翻转或换表记录：可能反送电、接线或设置错误，或读数解析错误。下降部分不计入。",
            "Current transformers: direction of each phase (power per phase must be positive).",
            "检查各相电流互感器方向（各相功率应为正）。",
            "Is there own generation behind this meter? Then mark the counter as one that may run backwards.",
            "该表后是否有自发电？若有，请标记为可倒走示值。",
        ),
        "overload": _row(
            "use", Severity.WARNING, "Power above rating", "功率超过额定值",
            "The load stayed above what this connection, its transformers or its meter are made for. Above the rated "
            "current transformers saturate and the meter reads too little.",
            "负荷持续超过线路、互感器或电表的额定值。过载时互感器饱和，计量偏少。",
            "Rated power in the site file: is it right?", "站点文件中的额定功率是否正确？",
            "Temperature of cable, breaker and terminals.", "电缆、断路器和端子的温度。",
            "Which load was added? Spread or shift it.", "新增了哪些负荷？能否分散或错峰？",
        ),
        "off_hours": _row(
            "use", Severity.WARNING, "Uses energy outside working hours", "非工作时间用电偏高",
            "Outside working time this meter carried clearly more than it normally does or was declared to.",
            "非工作时间内，该表负荷明显高于正常值或申报的待机值。",
            "Which machine was left on? Compressors, ovens, ventilation, lighting first.",
            "哪台设备未关？先查空压机、烘箱、通风、照明。",
            "Was there an extra shift? Then enter it in the calendar.", "是否加班？若是，请录入班次日历。",
        ),
        "phase_voltage_loss": _row(
            "meter", Severity.ALARM, "Voltage of a phase is missing", "缺相（失压）",
            "The meter sees too little voltage on one phase while the others are there: about a third of the energy is "
            "not counted as long as current flows in that phase.",
            "电表某相电压过低而其他相正常：该相有电流时约三分之一电能漏计。",
            "Voltage fuse of this phase at the meter.", "检查电表该相电压熔断器。",
            "Voltage terminal and wire of this phase (loose, corroded).", "检查该相电压端子和接线（松动、锈蚀）。",
            "If machines stand still too: the supply itself lost a phase.", "若设备也停机：供电本身缺相。",
        ),
        "phase_current_loss": _row(
            "meter", Severity.ALARM, "Current of a phase is missing", "失流",
            "One phase shows no current while the others carry load: about a third of the energy is not counted.",
            "某相无电流而其他相有负荷：约三分之一电能漏计。",
            "Secondary circuit of this phase's current transformer: shorted or open? (An open one is dangerous.)",
            "该相电流互感器二次回路：短接或开路？（开路危险！）",
            "Is a fuse of the load blown, or is the load single-phase?", "负荷侧熔断器是否熔断，或负荷本为单相？",
        ),
        "register_mismatch": _row(
            "meter", Severity.WARNING, "Counter and power do not agree", "电量与功率不一致",
            "Over hours the counter and the integral of power differ by more than polling and resolution explain: one "
            "of both is scaled or decoded wrongly, or stands still.",
            "数小时内电量与功率积分之差超出采样和分辨率可解释的范围：其中之一倍率、解析错误或停走。",
            "Transformer ratio: applied to one of both only?", "变比是否只用于其中之一？",
            "Scaling of power and energy in the meter's profile.", "电表配置文件中功率和电量的倍率。",
        ),
        "word_swap": _row(
            "meter", Severity.WARNING, "Garbage words", "字序错误或乱码",
            "Readings make sense only with their two words exchanged, or not at all: a gateway, a driver or a restart "
            "mixed them up. They are left out of the energy account.",
            "读数只有交换高低字后才合理，或完全无意义：网关、驱动或重启造成字序混乱。这些读数不计入电能账。",
            "Word order in the meter's profile, above all after a firmware update.",
            "检查电表配置中的字序，尤其在固件升级后。",
            "Two masters on one line, or answers that belong to another question.",
            "同一总线是否有两个主站，或应答错位。",
        ),
        "noise": _row(
            "meter", Severity.WARNING, "Noisy values", "数值噪声过大",
            "Power scatters around what the counter says much more than usual: the momentary values are disturbed, the "
            "energy is right.",
            "功率围绕电量推算值的波动远大于平常：瞬时值受干扰，电能仍正确。",
            "Loose current terminals, a current transformer far oversized.", "电流端子是否松动，互感器变比是否过大。",
            "Inverters near the measuring leads.", "测量线附近是否有变频器。",
        ),
        "duplicate_ts": _row(
            "meter", Severity.INFO, "Time stamps repeat", "时间戳重复",
            "Readings come with the same time stamp again, or come twice. They count once.",
            "读数的时间戳重复，或同一读数重复到达。只计一次。",
            "Clock of the meter or of the data concentrator (stands still?).", "检查电表或集中器时钟是否停走。",
            "Two programs that poll and forward the same meter.", "是否有两个程序同时采集并转发该表。",
        ),
        "clock_jump": _row(
            "meter", Severity.WARNING, "Meter clock is wrong", "电表时钟错误",
            "The meter's own clock is minutes or more away from the gateway's. Tariff periods and demand of the meter "
            "itself are booked at the wrong time; our intervals use the gateway's clock.",
            "电表自身时钟与网关相差数分钟以上。电表内的费率时段和需量归入错误时间；本系统按网关时钟计算。",
            "Set the meter's clock; note the deviation before.", "校准电表时钟，并记录校准前偏差。",
            "Clock battery of the meter (a date in the past after each power cut).", "电表时钟电池（停电后日期回退）。",
        ),
        "dst_shift": _row(
            "meter", Severity.WARNING, "Meter clock is off by an hour", "电表时钟偏差一小时",
            "The meter's clock is off by exactly one hour: daylight saving switched on, or a time zone set wrongly.",
            "电表时钟正好相差一小时：误启用夏令时或时区设置错误。",
            "Switch daylight saving off in the meter.", "关闭电表的夏令时功能。",
            "Time zone in the meter.", "检查电表时区。",
        ),
        "ratio_change": _row(
            "meter", Severity.ALARM, "Readings are off by a factor", "读数成倍偏差",
            "Since a certain moment this meter counts a constant part, or multiple, of what the metering tree "
            "says flows "
            "through it: a transformer ratio was changed or a factor typed in wrongly.",
            "自某时刻起，该表计量值与计量树推算值成固定比例：变比被更改或倍率录入错误。",
            "Transformer ratio in the meter against the plate of the current transformers.",
            "核对电表内变比与互感器铭牌。",
            "Was a current transformer exchanged, or a parameter downloaded, at that time?",
            "当时是否更换互感器或下装参数？",
        ),
        "theft": _row(
            "meter", Severity.ALARM, "Part of the load bypasses the meter", "部分负荷绕越电表",
            "Since a certain moment this meter misses a part of the load that the main meter still sees.",
            "自某时刻起，该表少计一部分负荷，而总表仍能计到。",
            "Look for a connection before the meter.", "检查表前是否有接线。",
            "Seals, terminal cover, test block.", "检查封印、端子盖和试验端子。",
            "One phase without current or voltage at a meter that sends no phases.",
            "若该表不上传分相数据，检查是否缺相。",
        ),
        "phase_reversal": _row(
            "meter", Severity.ALARM, "A current transformer is reversed", "电流互感器接反",
            "One phase is counted backwards: its energy goes to the export counter and about two thirds of the "
            "load are "
            "missing from the import counter.",
            "某相反向计量：该相电能计入反向示值，正向示值约少计三分之二负荷。",
            "Direction (P1/P2) and secondary wires (S1/S2) of each current transformer.",
            "检查各相互感器方向（P1/P2）和二次接线（S1/S2）。",
            "Was someone at the cabinet at that time?", "当时是否有人在柜内作业？",
        ),
        "sum_mismatch": _row(
            "use", Severity.ALARM, "Load that no sub-meter sees", "存在未分表计量的负荷",
            "The main meter counts more than its sub-meters, losses and the usual unmetered load together.",
            "总表电量大于各分表、损耗与正常未计量负荷之和。",
            "Was a load connected before the sub-meters?", "是否有负荷接在分表之前？",
            "A new sub-meter that is missing in the metering tree.", "是否有新分表未录入计量树？",
        ),
        "leak": _row(
            "use", Severity.WARNING, "Constant extra load", "持续额外用能（泄漏）",
            "Day and night this meter carries more than before by a constant amount: a leak, or something left "
            "running.",
            "该表昼夜均比以前多出固定用量：泄漏或设备常开。",
            "Compressed air, water, steam: listen and look at night.", "夜间检查压缩空气、水、蒸汽管路。",
            "What was installed or left on since then?", "自那时起新装或未关闭了哪些设备？",
        ),
        "base_load": _row(
            "use", Severity.WARNING, "Idle load has risen", "基础负荷升高",
            "In quiet hours this meter carries clearly more than before; in busy hours it does not.",
            "空闲时段负荷明显高于以前，繁忙时段则没有。",
            "Machines on stand-by instead of off.", "设备待机而未关机。",
            "Ventilation, lighting, heating at night.", "夜间通风、照明、采暖。",
        ),
        "unusual_level": _row(
            "use", Severity.INFO, "A day far above the expected", "全天用能偏高",
            "At nearly all hours of the day this meter carried clearly more than on such days.",
            "几乎全天各时段负荷均明显高于同类日。",
            "More production than usual?", "产量是否高于平常？",
            "Scaling, if meters before it do not show it.", "若上级表未见，检查倍率。",
        ),
        "unusual_shape": _row(
            "use", Severity.INFO, "A day at other hours", "用能时段异常",
            "The day's load is the usual one, but hours earlier or later.",
            "当日负荷形状与平常相同，但整体提前或推后数小时。",
            "Was the shift moved? Enter it in the calendar.", "班次是否调整？请录入日历。",
            "Time switches.", "检查定时开关。",
        ),
        "missing_cycle": _row(
            "use", Severity.INFO, "A working day did not happen", "缺少一个生产周期",
            "Between usual working days there was one without work at this meter.",
            "正常工作日之间，该表有一天没有生产负荷。",
            "Holiday or maintenance? Enter it in the calendar.", "节假日或检修？请录入日历。",
            "A machine that failed to start?", "设备是否未能启动？",
        ),
    }
)  # fmt: skip
"""Kind -> words and default severity. Every kind a detector may say is here."""
