"""What ``meterline findings`` says, in English and Simplified Chinese."""

from __future__ import annotations

FINDINGS_TEXTS = {
    "findings.number": ("no.", "编号"),
    "findings.since": ("since", "开始"),
    "findings.until": ("until", "结束"),
    "findings.state": ("state", "状态"),
    "findings.severity": ("severity", "级别"),
    "findings.where": ("where", "位置"),
    "findings.what": ("what", "内容"),
    "findings.energy": ("kWh", "kWh"),
    "findings.none": (
        "No finding. All is well, or nothing was judged yet: see meterline status.",
        "没有发现项。一切正常，或尚未判断：见 meterline status。",
    ),
    "findings.lasts": ("lasts", "持续中"),
    "findings.confidence": ("{percent} % of such evidence means this.", "此类证据有 {percent} % 的可信度。"),
    "findings.evidence": ("Evidence", "证据"),
    "findings.check": ("Check first", "首先检查"),
    "findings.history": ("What happened", "经过"),
    "findings.amount": ("Energy in doubt or used without need: {kwh} kWh", "存疑或不必要的电能：{kwh} kWh"),
    "findings.correction": (
        "Proposed correction of the counted energy: {kwh} kWh. Nothing is corrected until a person accepts it.",
        "建议的电量修正：{kwh} kWh。未经人员确认不会修正。",
    ),
    "findings.seen": ("seen ●, expected ·", "实测 ●，预期 ·"),
    "findings.png": ("Picture: {file}", "图：{file}"),
    "findings.no_curve": ("The finding carries no curve.", "该发现项不含曲线。"),
    "findings.kept": ("Kept: #{number} is {verdict} ({why}).", "已记录：#{number} 为 {verdict}（{why}）。"),
    "findings.waiting": (
        "Left for the running head-end: #{number} is {verdict}; it takes it in within its next round.",
        "已交给运行中的主站：#{number} 为 {verdict}，下一轮处理。",
    ),
}
