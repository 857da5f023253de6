"""What `scan`, `probe` and `commission` say; part of the catalogue in `meterline.cli.texts`."""

from __future__ import annotations

SCAN_TEXTS: dict[str, tuple[str, str]] = {
    # --- scan
    "scan.head": (
        "Scanning {line}: {stages} step(s), {time}.", "正在扫描 {line}：共 {stages} 步，{time}。",
    ),
    "scan.promise": (
        "Nothing is written. Ctrl-C keeps what was found.", "不写入任何数据。按 Ctrl-C 可中止并保留已有结果。",
    ),
    "scan.narrow": (
        "To make it shorter: --baud 9600 --parity N --protocol modbus --addresses 1-40",
        "如已知参数，可用 --baud 9600 --parity N --protocol modbus --addresses 1-40 缩短扫描。",
    ),
    "scan.stage": ("{stage}", "{stage}"),
    "scan.bar": ("{stage} · {left} left · {found} found", "{stage} · 剩余{left} · 已发现 {found}"),
    "scan.latest": ("{address}  {profile}  {verdict}", "{address}  {profile}  {verdict}"),
    "scan.listening": ("listening", "监听中"),
    "scan.is_tcp": ("{where} speaks Modbus/TCP.", "{where} 使用 Modbus/TCP。"),
    "scan.is_rtu": (
        "{where} answers no Modbus/TCP frame: trying serial frames (rtu-over-tcp).",
        "{where} 不应答 Modbus/TCP 帧：改试串行帧（rtu-over-tcp）。",
    ),
    "scan.found": ("{count} meter(s) in {time}.", "{time}内发现 {count} 块仪表。"),
    "scan.none": ("Nobody answered in {time}.", "{time}内无任何应答。"),
    "scan.partly": ("Interrupted: {share} % was scanned.", "已中断：完成 {share} %。"),
    "scan.none_hint": (
        "Check power, the A/B wires (swap them once), termination, and that no gateway or other tool uses the line.",
        "请检查供电、A/B 接线（对调一次试试）、终端电阻，并确认没有网关或其他工具占用该线路。",
    ),
    "scan.silent_known": (
        "In the site file, but silent: {meters}", "站点文件中有、但未应答：{meters}",
    ),
    "scan.other_type": (
        "{meter} (address {address}): the site file says {said}, it looks like {seen}",
        "{meter}（地址 {address}）：站点文件写的是 {said}，实际更像 {seen}",
    ),
    "scan.alike": (
        "{address}: cannot tell {names} apart; their values agree, compare with the display",
        "{address}：无法区分 {names}；数值一致，请与表计显示核对",
    ),
    "scan.collides": (
        "{address}: answers collide each time: two meters have this address, or the line is bad",
        "{address}：应答每次都冲突：有两块表地址相同，或线路不良",
    ),
    "scan.unknown": (
        "{address}: no shipped profile fits{maker}. meterline probe shows its cells; docs/adding-a-meter.md",
        "{address}：没有匹配的仪表档案{maker}。可用 meterline probe 查看原始值，参见 docs/adding-a-meter.md",
    ),
    "scan.every_unit": (
        "It answers to every unit address: one meter, write address: \"1\"",
        "对任意单元地址都应答：这是一块表，地址写 \"1\"",
    ),
    "scan.also_at": ("{address} also answers at {settings}", "{address} 在 {settings} 下也应答"),
    "scan.why_for": ("  + {reason}", "  + {reason}"),
    "scan.why_against": ("  - {reason}", "  - {reason}"),
    "scan.yaml_next": (
        "Next: the same with --yaml for the site file, then meterline check.",
        "下一步：同一命令加 --yaml 生成站点文件内容，然后 meterline check。",
    ),
    "scan.verdict.certain": ("certain", "确定"),
    "scan.verdict.likely": ("likely", "很可能"),
    "scan.verdict.possible": ("possible", "可能"),
    "scan.verdict.unclear": ("one of {count}", "{count} 选 1"),
    "scan.verdict.unknown": ("no page fits", "无匹配档案"),
    "scan.verdict.collides": ("collides", "冲突"),
    "scan.verdict.none": ("-", "-"),
    "scan.new": ("new", "新"),
    # remarks
    "scan.remark.another-master": (
        "Another master talks on this line ({bytes}).\nTwo masters spoil each other's answers: stop the gateway or tool first, or --anyway.",
        "该线路上有其他主站在通信（{bytes}）。两个主站会互相破坏应答：请先停止网关或其他工具，或使用 --anyway。",
    ),
    "scan.remark.noise": (
        "{count} bytes came that nobody asked for: noise, a missing termination, or a master at another speed.",
        "收到 {count} 个无人请求的字节：干扰、缺少终端电阻，或有其他速率的主站。",
    ),
    "scan.remark.no-shortened-addresses": (
        "Several {protocol} meters answer {at}, but none to a shortened address: read their numbers off the plates and try each with meterline probe.",
        "有多块 {protocol} 表应答（{at}），但都不支持缩位寻址：请抄录铭牌表号，逐一用 meterline probe 测试。",
    ),
    "scan.remark.setting-refused": ("Not scanned: the port cannot be set to {at}.", "未扫描：端口无法设为 {at}。"),
    # reasons
    "why.mark": ("says of itself: {text}", "自述：{text}"),
    "why.probe": ("{measurand} = {value}", "{measurand} = {value}"),
    "why.answers": ("{count} of {of} points have a value", "{of} 个测点中 {count} 个有值"),
    "why.odd-value": ("{measurand} = {value} is outside {low} .. {high}", "{measurand} = {value} 超出 {low} .. {high}"),
    "why.phases-alike": ("phase voltages {low} .. {high} V", "相电压 {low} .. {high} V"),
    "why.sum-fits": ("P of the phases adds up to {sum} kW, total {total} kW", "各相有功之和 {sum} kW，总有功 {total} kW"),
    "why.power-fits": ("{where}: U·I·PF = {expected} kW, P = {power} kW", "{where}：U·I·PF = {expected} kW，P = {power} kW"),
    # times
    "time.less": ("less than 10 s", "不到 10 秒"),
    "time.seconds": ("about {n} s", "约 {n} 秒"),
    "time.minutes": ("about {n} min", "约 {n} 分钟"),
    "time.at_least": ("at least {time}", "至少{time}"),
    "time.took": ("{n} s", "{n} 秒"),
    "time.took_min": ("{m} min {s} s", "{m} 分 {s} 秒"),
    # heads
    "head.protocol": ("protocol", "协议"),
    "head.setting": ("line", "串口"),
    "head.answer_ms": ("ms", "ms"),
    "head.type": ("profile", "档案"),
    "head.fit": ("fit", "匹配"),
    "head.site": ("site", "站点"),
}  # fmt: skip
