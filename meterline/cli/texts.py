"""What the command line says, in English and in Simplified Chinese; the only place of its sentences."""

from __future__ import annotations

import locale
import os
import re

from meterline.cli.commission_texts import COMMISSION_TEXTS
from meterline.cli.energy_texts import ENERGY_TEXTS
from meterline.cli.findings_texts import FINDINGS_TEXTS
from meterline.cli.line_texts import LINE_PROBLEMS_ZH, ON_THE_LINE_ZH
from meterline.cli.plan_texts import PLAN_PROBLEMS_ZH, PLAN_TEXTS
from meterline.cli.probe_texts import PROBE_TEXTS
from meterline.cli.proof_texts import PROOF_TEXTS
from meterline.cli.scan_texts import SCAN_TEXTS
from meterline.texts import Language, Texts

TEXTS = Texts({
    # key: (English, 简体中文)
    "problems": (
        "{count} problem(s) in {files} file(s). Nothing was started or changed.",
        "{files} 个文件中共 {count} 处问题。未启动也未修改任何内容。",
    ),
    "interrupted": ("Interrupted.", "已中断。"),
    # --- check
    "check.nothing_here": (
        "No site.yaml, gateway.yaml or headend.yaml in {folder}: checking the shipped examples instead.",
        "{folder} 中没有 site.yaml、gateway.yaml 或 headend.yaml：改为检查随附示例。",
    ),
    "check.fine": ("All fine: {files} file(s), {profiles} meter profile(s).", "全部正确：{files} 个文件，{profiles} 个仪表档案。"),
    "check.unstable_port": (
        "{file}: bus {bus}: {device} may be another adapter after the next start; use its name under /dev/serial/by-id/, or usb:VID:PID:SERIAL",
        "{file}：总线 {bus}：{device} 重启后可能变成另一个适配器；请使用 /dev/serial/by-id/ 下的名称，或 usb:VID:PID:序列号",
    ),
    "check.site": (
        "{file}: site {name}: {users} energy user(s), {buses} bus(es), {meters} meter(s), {points} points",
        "{file}：站点 {name}：用能单位 {users} 个，总线 {buses} 条，仪表 {meters} 块，测点 {points} 个",
    ),
    "check.gateway": (
        "{file}: gateway {name}: {buses} bus(es), {meters} meter(s), broker {broker}",
        "{file}：网关 {name}：总线 {buses} 条，仪表 {meters} 块，消息代理 {broker}",
    ),
    "check.headend": (
        "{file}: head-end: {gateways} gateway(s), {meters} meter(s), broker {broker}, {recipients} recipient(s) of alarms",
        "{file}：主站：网关 {gateways} 个，仪表 {meters} 块，消息代理 {broker}，告警收件人 {recipients} 个",
    ),
    # --- bench
    "bench.figure": ("figure", "指标"),
    "bench.value": ("value", "数值"),
    "bench.unit": ("unit", "单位"),
    "bench.step": ("measuring: {step}", "正在测量：{step}"),
    # --- detect
    "detect.kind": ("kind", "类型"),
    "detect.count": ("findings", "发现数"),
    "detect.done": ("{count} finding(s) at {meters} meter(s): {out}", "{meters} 块仪表共 {count} 条发现：{out}"),
    # --- grafana
    "grafana.unchanged": ("Everything is as it should be.", "一切已是最新。"),
    "grafana.changed": ("{count} change(s) made.", "已作 {count} 处更改。"),
    "grafana.would": ("{count} change(s) to make. Nothing was written.", "有 {count} 处待更改。未写入任何内容。"),
    "grafana.removed": (
        "The folder and the data source meterline are gone from {url}.", "已从 {url} 移除文件夹和数据源 meterline。",
    ),
    "grafana.answered": ("{count} of {all} queries bring data.", "{all} 个查询中有 {count} 个返回数据。"),
    # --- energy
    "energy.meter": ("meter", "仪表"),
    "energy.date": ("date", "日期"),
    "energy.kwh": ("kWh", "电量 kWh"),
    "energy.u_kwh": ("± kWh", "± kWh"),
    "energy.estimated_share": ("estimated", "估算占比"),
    "energy.flags": ("flags", "标记"),
    "energy.done": (
        "{file}: {rows} row(s) of {meters} meter(s), {estimated} with an estimated share, {missing} unknown. ± is U at k = 2 without the instruments' class.",
        "{file}：{meters} 块仪表共 {rows} 行，其中 {estimated} 行含估算，{missing} 行未知。± 为扩展不确定度（k = 2），不含器具准确度等级分量。",
    ),
    # --- read
    "read.head": (
        "{meter} · {name} · {profile}: {requests} request(s), answer after {ms} ms on average",
        "{meter} · {name} · {profile}：{requests} 次请求，平均 {ms} ms 应答",
    ),
    "read.by_gateway": (
        "Gateway {gateway} holds this line and reads the meter now.", "网关 {gateway} 正在使用该线路，由其立即读取该表。",
    ),
    "read.waits": ("Waiting at port {port} for a device to dial in.", "正在端口 {port} 等待设备拨入。"),
    # --- monitor
    "monitor.head": (
        "{bus} ({kind}, {line}): {meters} meter(s). Ctrl-C ends. The gateway must not run on this line meanwhile.",
        "{bus}（{kind}，{line}）：{meters} 块仪表。按 Ctrl-C 结束。监听期间网关不得占用该线路。",
    ),
    "monitor.silent": ("{meter} does not answer ({cause})", "{meter} 无应答（{cause}）"),
    "monitor.back": ("{meter} answers again", "{meter} 恢复应答"),
    # --- points
    "points.template": (
        "{file}: a template. Fill in one row a meter, then: meterline import-points {file} --site site.yaml --dry-run",
        "{file}：模板。每块仪表填一行，然后运行：meterline import-points {file} --site site.yaml --dry-run",
    ),
    "points.exported": ("{file}: {meters} meter(s).", "{file}：{meters} 块仪表。"),
    "points.planned": (
        "Would add {added}, change {changed}, leave {unchanged} as they are. Nothing was written.",
        "将新增 {added} 块、修改 {changed} 块、保持 {unchanged} 块不变。未写入任何内容。",
    ),
    "points.imported": (
        "{added} added, {changed} changed, {unchanged} as they were.",
        "新增 {added} 块，修改 {changed} 块，{unchanged} 块不变。",
    ),
    "points.backup": ("The site file as it was: {backup}", "原站点文件保存为：{backup}"),
    # --- heads of tables
    "head.bus": ("bus", "总线"),
    "head.line": ("line", "线路"),
    "head.meters": ("meters", "仪表"),
    "head.meter": ("meter", "仪表"),
    "head.points": ("points", "测点"),
    "head.requests": ("requests a cycle", "每轮请求数"),
    "head.measurand": ("measurand", "被测量"),
    "head.name": ("name", "名称"),
    "head.value": ("value", "数值"),
    "head.address": ("address", "地址"),
    "head.asked": ("asked", "请求"),
    "head.good": ("good", "正常"),
    "head.silent": ("time-outs", "超时"),
    "head.garbled": ("checksum errors", "校验错"),
    "head.median": ("median ms", "中位 ms"),
    "head.p99": ("p99 ms", "p99 ms"),
    "head.causes": ("causes", "原因"),
    "head.primary": ("primary", "一次值"),
    "head.unit": ("unit", "单位"),
    "head.quality": ("quality", "质量"),
    # --- services
    "clock.not": ("{text} is no plant clock", "{text} 不是仿真时钟"),
    "simulate.line": ("{bus}: {kind} on {where}: {meters}", "{bus}：{kind}，{where}：{meters}"),
    "simulate.ready": ("ready", "就绪"),
    "simulate.planted": ("{at} planted: {what}", "{at} 植入故障：{what}"),
    # --- status
    "status.store": (
        "{readings} readings in {batches} batches; newest slot {at}, {lag} s old",
        "读数 {readings}，批次 {batches}；最新时刻 {at}，距今 {lag} 秒",
    ),
    "status.meters": ("{count} meters; without fresh values: {silent}", "仪表 {count} 块；无新数据：{silent}"),
    "status.findings": (
        "Findings that last: {alarm} alarm(s), {warning} warning(s), {info} note(s)",
        "持续中的发现：报警 {alarm}，警告 {warning}，提示 {info}",
    ),
    "status.quarantine": ("In quarantine: {count} ({reason})", "已隔离：{count}（{reason}）"),
    "status.chain": ("The chain of {gateway}, epoch {epoch}, breaks at {seq}", "{gateway}（{epoch}）的链在 {seq} 处断开"),
    "head.gateway": ("gateway", "网关"),
    "head.state": ("state", "状态"),
    "head.batches": ("batches", "批次"),
    "head.acked": ("acknowledged", "已确认"),
    "head.backlog": ("to send", "待发"),
    "head.holes": ("holes", "缺口"),
    "head.lost": ("lost", "丢失"),
    "head.troubles": ("troubles", "异常"),
    # --- demo
    "demo.page_up": ("The page answers {seconds} s after the start", "启动 {seconds} 秒后页面可访问"),
    "demo.resumes": ("Goes on at {at} plant time, with the data of {folder}", "从仿真时间 {at} 继续，沿用 {folder} 中的数据"),
    "demo.begins": ("Begins at {at} plant time in {folder}", "仿真时间从 {at} 开始，数据在 {folder}"),
    "demo.speed": ("The plant's clock runs {factor} times faster than yours.", "仿真时钟为实际时间的 {factor} 倍。"),
    "demo.broker": ("Broker: {name} on port {port}", "消息代理：{name}，端口 {port}"),
    "demo.page": ("Page:   {url}", "页面：  {url}"),
    "demo.mails": ("Mails:  {folder}", "邮件：  {folder}"),
    "demo.logs": ("Logs:   {folder}", "日志：  {folder}"),
    "demo.page_moved": ("Port 8420 is taken: the page is on {port} this time.", "端口 8420 已被占用：本次页面端口为 {port}。"),
    "demo.ended": ("Left behind by an earlier run and ended: {pids}", "上次运行遗留的进程已结束：{pids}"),
    "demo.first_data": ("First values in the store {seconds} s after the start", "启动 {seconds} 秒后首批数据入库"),
    "demo.planted": ("planted: {what}", "植入故障：{what}"),
    "demo.fault_over": ("over:    {what}", "故障结束：{what}"),
    "demo.found": ("found:   {what}", "发现：  {what}"),
    "demo.mail": ("mail:    {what}", "邮件：  {what}"),
    "demo.died": ("ended by itself (exit code {code})", "意外退出（退出码 {code}）"),
    "demo.stopping": ("Stopping.", "正在停止。"),
    "demo.stopped": ("Stopped after {seconds} s: {hours} h of plant time.", "运行 {seconds} 秒后停止：仿真时间 {hours} 小时。"),
    "demo.again": ("Run it again to go on; delete {folder} to begin anew.", "再次运行将继续；删除 {folder} 可重新开始。"),
    "demo.status": (
        "{at} plant time | {readings} readings in {batches} batches | lag {lag} s | to send {backlog} | findings {findings} | mails {mails}",
        "仿真时间 {at} | 读数 {readings}，批次 {batches} | 延迟 {lag} 秒 | 待发 {backlog} | 发现 {findings} | 邮件 {mails}",
    ),
    "demo.total": (
        "{readings} readings in {batches} batches in the store; recorded as lost: {lost}; holes in the numbering: {holes}",
        "库中读数 {readings}，批次 {batches}；记录丢失：{lost}；编号缺口：{holes}",
    ),
    "demo.energy": ("Energy: sum of the intervals against the counters (last − first)", "电量核对：区间电量之和与表码差（末 − 初）"),
    "demo.energy_ok": ("exact", "完全一致"),
    "demo.energy_breaks": ("exact, with {count} counter event(s)", "完全一致，含 {count} 次表码事件"),
    "demo.energy_differs": ("differs", "不一致"),
    "demo.replayed": ("Recording, day by day", "录波逐日核对"),
    "demo.faults": ("Planted and found", "植入与发现"),
    "demo.besides": ("{at}  found besides: {what}", "{at}  另外发现：{what}"),
    "demo.nothing_planted": ("Nothing was planted in this time.", "本次未植入故障。"),
    "demo.not_found": ("-", "-"),
    "head.fault": ("planted", "植入故障"),
    "head.finding": ("found", "发现"),
    "head.at": ("at", "时间"),
    "head.after": ("after", "用时"),
    "head.sum": ("sum of intervals", "区间之和"),
    "head.counter": ("last − first", "末 − 初"),
    "head.verdict": ("check", "核对"),
    "head.day": ("day", "日期"),
    "head.recorded": ("recorded", "录波"),
    "head.difference": ("difference", "差"),
    "head.took": ("answer after", "应答时间"),
    **PLAN_TEXTS,
    **SCAN_TEXTS,
    **PROBE_TEXTS,
    **COMMISSION_TEXTS,
    **ENERGY_TEXTS,
    **FINDINGS_TEXTS,
    **PROOF_TEXTS,
})  # fmt: skip


def text(key: str, lang: str, **values: object) -> str:
    """The sentence of a key in a language, with its values."""
    return TEXTS(key, "zh" if lang == "zh" else "en", **values)


def language(wish: str | None = None) -> Language:
    """What the person reads: the option, then ``METERLINE_LANG``, then the system's own language."""
    for value in (wish, os.environ.get("METERLINE_LANG")):
        if value:
            return "zh" if value.lower().startswith(("zh", "chinese")) else "en"
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(name):
            return "zh" if value.lower().startswith("zh") else "en"
    system = locale.getlocale()[0] or ""  # Windows says "Chinese (Simplified)_China"
    return "zh" if system.lower().startswith(("zh", "chinese")) else "en"


# Problems are worded where they are found (the kernel, pydantic) in English; these are the ones an electrician meets.
_PROBLEMS_ZH: tuple[tuple[str, str], ...] = (
    (r"there is no such file", "没有这个文件"),
    (r"check the path", "请检查路径"),
    (r"is a folder", "这是文件夹"),
    (r"is not UTF-8 text", "不是 UTF-8 文本"),
    (r"save it as UTF-8", "请另存为 UTF-8"),
    (r"the file is empty", "文件为空"),
    (r"not valid YAML: (?P<why>.+)", "YAML 格式错误：{why}"),
    (r"check indentation, quotes and colons here", "请检查此处的缩进、引号和冒号"),
    (r"unknown key '(?P<key>.+)'", "未知的键 '{key}'"),
    (r"did you mean '(?P<name>.+)'\?", "是否应为 '{name}'？"),
    (r"'(?P<key>.+)' is missing", "缺少 '{key}'"),
    (r"add (?P<key>\S+):", "请添加 {key}:"),
    (r"(?P<n>.+) was read as a number, so its digits may not be the ones written", "{n} 被读成了数字，可能已不是所写的数字"),
    (r"put it in quotes, for example (?P<x>.+)", "请加引号，例如 {x}"),
    (r"put it in quotes", "请加引号"),
    (r"(?P<x>.+) is not one of (?P<names>.+)", "{x} 不在可选项中：{names}"),
    (r"unknown measurand '(?P<x>.+)'", "未知的被测量 '{x}'"),
    (r"unknown unit '(?P<x>.+)'", "未知的单位 '{x}'"),
    (r"(?P<a>\S+) and (?P<b>\S+) both have address (?P<x>\S+) on bus (?P<bus>\S+)", "{a} 与 {b} 在总线 {bus} 上地址同为 {x}"),
    (r"two meters on one address answer at once: change one, on the meter and here", "同一地址的两块表会同时应答：请更改其中一块（表上和此处）"),
    (r"no energy user '(?P<x>.+)'", "没有用能单位 '{x}'"),
    (r"no bus '(?P<x>.+)'", "没有总线 '{x}'"),
    (r"no meter '(?P<x>.+)'", "没有仪表 '{x}'"),
    (r"no profile '(?P<x>.+)'", "没有仪表档案 '{x}'"),
    (r"there are: (?P<names>.+)", "现有：{names}"),
    (r"id '(?P<x>.+)' is used twice", "编号 '{x}' 重复"),
    (r"ids are unique", "编号必须唯一"),
    (r"(?P<x>\S+) is no Modbus address on a (?P<kind>\S+) line", "{x} 不是 {kind} 线路上的 Modbus 地址"),
    (r'use "(?P<low>\d+)" to "(?P<high>\d+)", as set on the meter', "请用 \"{low}\" 到 \"{high}\"，与表上设置一致"),
    (r"(?P<key>\S+) runs in a circle: (?P<ring>.+)", "{key} 形成环路：{ring}"),
    (r"(?P<a>\S+) and (?P<b>\S+) are the same line", "{a} 与 {b} 是同一条线路"),
    (r"one line has one entry: put its meters on it", "一条线路只写一次：请把仪表都挂在它上面"),
    (r"row (?P<n>\d+), column (?P<c>.+)", "第 {n} 行，{c} 列"),
    (r"row (?P<n>\d+)", "第 {n} 行"),
    (r"the cell is empty", "单元格为空"),
    (r"every meter needs an id", "每块仪表都要有编号"),
    (r"a new meter needs it", "新增仪表必须填写"),
    (r"a new meter needs a name", "新增仪表必须有名称"),
    (r"'(?P<x>.+)' also stands in row (?P<n>\d+)", "'{x}' 在第 {n} 行已出现"),
    (r"keep one row for each meter", "每块仪表只保留一行"),
    (r"unknown heading '(?P<x>.+)'", "未知的列标题 '{x}'"),
    (r"remove the column, or see the template", "请删除该列，或参照模板"),
    (r"no row of headings found", "没有找到标题行"),
    (r"meterline export-points writes a template", "用 meterline export-points 生成模板"),
    (r"(?P<x>\S+) is a number, so leading zeros may be lost", "{x} 是数字格式，前导零可能已丢失"),
    (r"format the column as text and type (it|the number) again(?P<x>.*)", "请将该列设为文本格式后重新输入{x}"),
    (r"the spreadsheet has turned the ratio into a date \((?P<x>.+)\)", "电子表格把变比变成了日期（{x}）"),
    (r"'(?P<x>.+)' is no number", "'{x}' 不是数字"),
    (r"write digits and a decimal point only, without unit or separators", "只写数字和小数点，不带单位和分隔符"),
    (r"'(?P<x>.+)' is no date", "'{x}' 不是日期"),
    (r"write it as 2026-01-31", "请写成 2026-01-31"),
    (r"cells (?P<x>\S+) are merged: only the first of them holds a value", "单元格 {x} 已合并：只有第一个有值"),
    (r"unmerge them and fill every row", "请取消合并并逐行填写"),
    (r"a ratio needs the date from which it is valid", "变比必须注明生效日期"),
    (r"there are recipients but no mail server", "有收件人但没有邮件服务器"),
    (r"(?P<mb>\d+) MB do not hold (?P<days>\d+) days of quarter-hour values", "{mb} MB 容不下 {days} 天的 15 分钟数据"),
    (r"these meters need at least (?P<mb>\d+) MB", "这些仪表至少需要 {mb} MB"),
    (r"certificates are only of use with 'tls: true'", "证书只在 'tls: true' 时有用"),
    (r"add it, or take them out", "请加上，或删除证书项"),
    *LINE_PROBLEMS_ZH,
    *ON_THE_LINE_ZH,
    *PLAN_PROBLEMS_ZH,
)  # fmt: skip


def problem_text(sentence: str, lang: str) -> str:
    """A problem's sentence in the person's language; as it is where there is no translation."""
    if lang == "zh":
        for pattern, chinese in _PROBLEMS_ZH:
            if found := re.fullmatch(pattern, sentence):
                return chinese.format(**found.groupdict())
    return sentence
