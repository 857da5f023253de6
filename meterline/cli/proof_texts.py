"""What the commands of proof say."""

from __future__ import annotations

PROOF_TEXTS: dict[str, tuple[str, str]] = {
    # --- verify
    "verify.by": ("Checked by {software}", "校验软件：{software}"),
    "verify.of": ("{kind} {path}", "{kind} {path}"),
    "verify.journal": ("Journal of a gateway:", "网关日志："),
    "verify.store": ("Store of a head-end:", "主站存储："),
    "verify.evidence": ("Evidence file:", "证据文件："),
    "verify.key": ("Public key of {gateway}: {public} ({source})", "{gateway} 的公钥：{public}（{source}）"),
    "verify.key_beside": (
        "This key lay beside the data. Compare it with 'meterline gateway --show-key' on the gateway, or give --key.",
        "该公钥取自数据所在位置，请与网关上 'meterline gateway --show-key' 的输出核对，或用 --key 指定。",
    ),
    "verify.made_by": ("The batches were made by {software}", "批次由 {software} 生成"),
    "verify.counts": (
        "{batches} batches, {proven} proven; {rows} rows of readings compared; {hours} stated hours fit; {seconds} s",
        "批次 {batches}，已证实 {proven}；核对读数行 {rows}；小时声明相符 {hours}；用时 {seconds} 秒",
    ),
    "verify.fine": (
        "All of it is as its gateways made it; nothing in between was changed, taken out, put in or exchanged.",
        "全部数据与网关生成时一致；其间没有任何修改、删除、插入或调换。",
    ),
    "verify.flaws": (
        "{count} flaw(s). What is not named here is proven.",
        "发现 {count} 处问题。未列出的部分均已证实。",
    ),
    "verify.nothing": ("There is no batch here to prove.", "此处没有可校验的批次。"),
    "head.epoch": ("epoch", "世代"),
    "head.numbers": ("numbers here", "现有编号"),
    "head.given_up": ("given up", "已清理"),
    "head.formed": ("formed", "生成时间"),
    "head.digest": ("digest of the last", "末批摘要"),
    "verify.byte": ("byte {offset}", "第 {offset} 字节"),
    "verify.more": ("and {count} more; --json names all", "另有 {count} 处；--json 列出全部"),
    "flaw.changed": ("changed or forged", "被修改或伪造"),
    "flaw.unknown-key": ("unknown key", "公钥未知"),
    "flaw.unreadable": ("unreadable", "无法解读"),
    "flaw.misplaced": ("swapped or renamed", "被调换或改名"),
    "flaw.twice": ("one number, two batches", "同号两批"),
    "flaw.chain": ("chain broken", "链断开"),
    "flaw.absent": ("missing", "缺失"),
    "flaw.tail": ("end cut off", "尾部被截"),
    "flaw.hour": ("hour differs", "小时声明不符"),
    "flaw.damaged": ("damaged", "损坏"),
    "flaw.cut": ("cut short", "文件截断"),
    "flaw.index": ("index differs", "索引不符"),
    "flaw.readings": ("reading differs", "读数不符"),
    "flaw.history": ("not the past known", "与既往记录不符"),
    # --- reconcile
    "reconcile.counts": (
        "{hours} stated hours: {fits} fit, {waiting} not all here yet, {lost} with batches declared lost, {missing} with batches gone, {differs} changed",
        "已声明 {hours} 小时：相符 {fits}，未到齐 {waiting}，含声明丢失 {lost}，已存数据缺失 {missing}，内容不符 {differs}",
    ),
    "reconcile.ask": (
        "Have the head-end fetch what is gone and put aside what was changed? [y/N]",
        "是否由主站重新索取缺失数据，并隔离被修改的数据？[y/N]",
    ),
    "reconcile.how": (
        "With --apply the head-end fetches what is gone again, and takes the place of what was changed with what was signed.",
        "加 --apply 后，主站将重新索取缺失数据，并以签名原文恢复被修改的数据。",
    ),
    "reconcile.applied": (
        "Left for the head-end: it does so in its next round, or when it is started. Changed batches go into quarantine.",
        "已交主站处理：将在下一轮（或启动后）执行。被修改的批次移入隔离区。",
    ),
    "head.hour": ("hour", "小时"),
    "head.numbers_stated": ("batches stated", "声明批次"),
    "head.gone": ("gone", "缺失"),
    "head.changed": ("changed", "被改"),
    "head.readings_stated": ("readings stated", "声明读数"),
    "head.here": ("here", "现有"),
    "head.kwh_stated": ("kWh stated", "声明电量 kWh"),
    "audit.fits": ("fits", "相符"),
    "audit.new": ("not checked yet", "未核对"),
    "audit.waiting": ("not all here yet", "未到齐"),
    "audit.lost": ("declared lost", "已声明丢失"),
    "audit.missing": ("gone", "缺失"),
    "audit.differs": ("changed", "内容不符"),
    # --- completeness
    "completeness.all": (
        "{first} to {last}: {received} of {expected} slots received, {share} %; meter days below {limit} %: {poor}",
        "{first} 至 {last}：应收 {expected}，实收 {received}，完整率 {share} %；低于 {limit} % 的表日：{poor}",
    ),
    "completeness.one": (
        "{first}: {received} of {expected} slots received, {share} %; meters below {limit} %: {poor}",
        "{first}：应收 {expected}，实收 {received}，完整率 {share} %；低于 {limit} % 的电表：{poor}",
    ),
    "completeness.none": ("Nothing was expected of any meter in this time.", "该时段内没有任何电表应上报数据。"),
    "head.expected": ("expected", "应收"),
    "head.received": ("received", "实收"),
    "head.percent": ("%", "%"),
    "head.late": ("late", "迟到"),
    "head.empty": ("no value", "无值"),
    "head.not_read": ("not read", "未读到"),
    "head.coming": ("on the way", "在途"),
    "head.off": ("gateway off", "网关停运"),
    "head.unexplained": ("unexplained", "原因不明"),
    "head.estimated": ("estimated 15 min", "估算(15分钟)"),
    "head.midnight": ("midnight", "日界"),
    "head.poor": ("poor days", "不完整天数"),
    # --- status
    "status.audit": (
        "Audit of {gateway}: {fits} stated hours fit up to {until}; not all here {waiting}, lost {lost}, gone {missing}, changed {differs}",
        "{gateway} 核对：截至 {until} 相符 {fits} 小时；未到齐 {waiting}，声明丢失 {lost}，缺失 {missing}，不符 {differs}",
    ),
    "status.headend_troubles": ("Troubles of the head-end: {troubles}", "主站异常：{troubles}"),
    "status.no_audit": ("Audit of {gateway}: no hour stated yet", "{gateway} 核对：尚无小时声明"),
    # --- export-evidence
    "evidence.done": (
        "{file}: {batches} batches, {kb} kB. Check it anywhere: meterline verify {file}",
        "{file}：批次 {batches}，{kb} kB。可在任意位置校验：meterline verify {file}",
    ),
}
