"""The sentences of the mails."""

from __future__ import annotations

from meterline.texts import Texts

TEXTS = Texts(
    {
        "mark.over": ("OVER", "已恢复"),
        "mark.still": ("STILL OPEN", "仍未处理"),
        "mark.back": ("AGAIN", "再次出现"),
        "mark.alarm": ("ALARM", "报警"),
        "mark.warning": ("WARNING", "警告"),
        "mark.info": ("NOTE", "提示"),
        "simulated": (
            "SIMULATED: these numbers come from a simulated plant.",
            "模拟数据：以下数值来自模拟工厂。",
        ),
        "subject.digest": ("{plant}: {count} findings", "{plant}：{count} 项异常"),
        "digest.intro": ("{count} findings, the most urgent first.", "共 {count} 项异常，按紧急程度排序。"),
        "what": ("What it means", "含义"),
        "when": ("When", "时间"),
        "since": ("since {start}, for {length} so far", "自 {start} 起，已持续 {length}"),
        "span": ("from {start} to {end} ({length})", "{start} 至 {end}（{length}）"),
        "unknown_since": (
            "since {start}; whether it still lasts is unknown, because the meter has been silent since {seen}",
            "自 {start} 起；电表自 {seen} 起无应答，目前是否持续未知",
        ),
        "times": ("It has come back {times} times in this span.", "此期间共出现 {times} 次。"),
        "evidence": ("Evidence", "依据"),
        "energy": ("Energy affected", "涉及能量"),
        "where": ("Where", "位置"),
        "meter": ("meter", "电表"),
        "meters": ("meters", "电表"),
        "line": ("line", "总线"),
        "address": ("address", "地址"),
        "gateway": ("gateway", "网关"),
        "user": ("energy user", "用能单位"),
        "type": ("type", "型号"),
        "check": ("Check first", "请先检查"),
        "page": ("Page", "页面"),
        "finding": ("finding #{number}", "异常编号 #{number}"),
        "confidence": ("confidence {percent} %", "置信度 {percent} %"),
        "over.lead": ("This is over. Good data have come since.", "该异常已结束，其后数据正常。"),
        "already_over": ("It was over before this mail could be written.", "发送本邮件前该异常已结束。"),
        "still.lead": (
            "Nobody has acknowledged this alarm yet. Acknowledge it on the page and the reminders stop.",
            "该报警尚无人确认。在页面上确认后将不再提醒。",
        ),
        "chart": (
            "{name}, {unit}; shaded: the affected span; a gap is missing data",
            "{name}，{unit}；阴影为受影响时段；断线表示缺数",
        ),
        "zone": ("Times are plant time ({zone}).", "时间均为工厂当地时间（{zone}）。"),
        "why_you": (
            "You get this because {address} is a recipient for findings of severity “{severity}” and above.",
            "您收到此邮件，因为 {address} 订阅了“{severity}”及以上级别的异常。",
        ),
        "undeliverable.subject": ("Mail to {address} cannot be delivered", "发往 {address} 的邮件无法送达"),
        "undeliverable.body": (
            (
                "The mail server would not take a mail to {address}.\nIts subject: {subject}\n"
                "The server's answer: {answer}\n"
                "Please correct the address in headend.yaml (alerts, recipients), or tell {address} yourself."
            ),
            (
                "邮件服务器拒收发往 {address} 的邮件。\n主题：{subject}\n服务器答复：{answer}\n"
                "请更正 headend.yaml 中的地址（alerts, recipients），或自行通知 {address}。"
            ),
        ),
        "undeliverable.unsure": (
            "nobody knows whether it was taken: the program stopped twice while sending it",
            "无法确定是否送达：发送过程中程序两次中断",
        ),
    }
)  # fmt: skip
