"""Words of the mails on delivery itself, English and Chinese."""

from __future__ import annotations

from meterline.texts import Texts

TEXTS = Texts(
    {
        "subject": ("{mark} {plant}: {what}", "{mark} {plant}：{what}"),
        "mark.alarm": ("[ALARM]", "[报警]"),
        "mark.warning": ("[WARNING]", "[警告]"),
        "mark.over": ("[OVER]", "[已恢复]"),
        "several": ("{count} messages about the delivery of data", "{count} 条数据传输消息"),
        "tampered": ("data do not follow from what came before", "数据与此前记录不衔接"),
        "tampered.do": (
            (
                "{count} place(s) in the chain of {gateway}: somebody changed or removed batches, or an old disk was "
                "put back. Keep everything as it is; run 'meterline verify' on the folders of head-end and gateway."
            ),
            (
                "{gateway} 的数据链有 {count} 处不衔接：批次被修改或删除，或换上了旧磁盘。请保持原状，"
                "对中心端和网关的数据目录分别运行 meterline verify。"
            ),
        ),
        "refused": ("messages were refused ({reason})", "有报文被拒收（{reason}）"),
        "refused.do": (
            (
                "{count} message(s) were put into quarantine, reason {reason}. 'signature', 'unknown-gateway': the key "
                "of a gateway is not in headend.yaml, or somebody else speaks in its name. 'conflict': two devices "
                "use one key, or an old disk was put back. Others: a gateway of another version. The gateway keeps "
                "what was refused."
            ),
            (
                "{count} 条报文已隔离，原因 {reason}。signature、unknown-gateway：headend.yaml 中没有该网关的密钥，"
                "或有人冒用其名；conflict：两台设备使用同一密钥，或换上了旧磁盘；其他：网关版本不同。被拒收的数据仍保存在网关中。"
            ),
        ),
        "lost": ("data of {gateway} are lost ({reason})", "{gateway} 有数据丢失（{reason}）"),
        "lost.do": (
            (
                "{count} batch(es) of {gateway} will never come, reason {reason} (docs/wire-contract.md explains it). "
                "Counters go on inside the meters: energy over the gap is one true total. 'meterline completeness' "
                "shows the meters and days."
            ),
            (
                "{gateway} 有 {count} 个批次不会再到达，原因 {reason}（说明见 docs/wire-contract.md）。"
                "电能仍在表内累计，缺口期间的总量是准确的。受影响的电表和日期见 meterline completeness。"
            ),
        ),
        "trouble": ("gateway {gateway}: {detail}", "网关 {gateway}：{detail}"),
        "trouble.do": (
            (
                "Since {since} the gateway {gateway} says: {detail}. It goes on measuring and keeping; what it says "
                "has to be put right there."
            ),
            "自 {since} 起网关 {gateway} 报告：{detail}。采集和保存仍在继续，请在网关侧排除。",
        ),
        "trouble.over": ("Gateway {gateway}: over ({detail}).", "网关 {gateway}：已恢复（{detail}）。"),
        "clock": ("the clock of gateway {gateway} is wrong", "网关 {gateway} 的时钟不准"),
        "clock.do": (
            (
                "Since {since} the clock of {gateway} and this server's differ by {detail}. Values are stored with the "
                "gateway's time. Check the time server on both."
            ),
            "自 {since} 起 {gateway} 与本服务器的时钟相差 {detail}。数据按网关时间存储，请检查两端的时间服务器。",
        ),
        "clock.over": ("The clocks of {gateway} and this server agree again.", "{gateway} 与本服务器的时钟已一致。"),
    }
)
