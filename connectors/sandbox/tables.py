"""The tables of the exchange standard: the columns that each kind of record has, whichever system shares it."""

from connectors.sandbox.exchange import Columns

ACTS: Columns = {
    "ACT_KIND": "kind",
    "DOC_NO": "document",
    "MATTER": "matter",
    "ACT_DATE": "decided",
    "AUTHORITY": "authority",
    "RESULT": "result",
    "CONTENT": "content",
    "AMOUNT": "amount",
}
"""Kind: 行政确认, 行政征收, 行政给付, 行政裁决, 行政补偿 or 行政检查."""

REWARDS: Columns = {
    "TITLE": "title",
    "DOC_NO": "document",
    "AWARD_DATE": "awarded",
    "AUTHORITY": "authority",
    "CONTENT": "content",
    "FACTS": "facts",
}

COMPULSIONS: Columns = {
    "KIND": "kind",
    "DOC_NO": "document",
    "AUTHORITY": "authority",
    "MANNER": "manner",
    "FACTS": "facts",
    "LEGAL_BASIS": "legal_basis",
    "CONTENT": "content",
}
"""Kind: 行政强制措施 or 行政强制执行."""

FALSE_STATEMENTS: Columns = {
    "KIND": "kind",
    "DOC_NO": "document",
    "MATTER": "matter",
    "AUTHORITY": "authority",
    "FACTS": "facts",
    "CONSEQUENCE": "consequence",
}
"""Kind: 提供虚假材料 or 隐瞒真实情况."""

COMPLIANCE: Columns = {
    "DOMAIN": "domain",
    "PERIOD": "period",
    "LAW": "law",
    "RESULT": "result",
    "FOUND_ON": "decided",
    "AUTHORITY": "authority",
    "CONTENT": "content",
}

OFFICIAL_DISHONESTY: Columns = {
    "ORIGIN": "origin",
    "DOC_NO": "document",
    "AUTHORITY": "authority",
    "DOMAIN": "domain",
    "EXCUSE": "excuse",
    "FACTS": "facts",
    "CONTENT": "content",
    "RESPONSIBLE": "responsible",
}
"""Origin: 司法裁判, 行政处罚, 处分 or 问责处理; excuse: 行政区划调整, 政府换届, 机构或者职能调整, 相关责任人更替 or 其他."""

RIGHTS: Columns = {
    "KIND": "kind",
    "CATEGORY": "category",
    "CASE_NO": "case",
    "STAGE": "stage",
    "FILED_ON": "filed",
    "SETTLED_ON": "settled",
    "AUTHORITY": "authority",
    "OUTCOME": "outcome",
}
"""RECORD_ID, PROVIDER, REPAIRED and WITHDRAWN are those of the record that it is about, CATEGORY is that record's code in
the catalogue. Kind: 异议, 复议, 诉讼, 信用修复 or 撤销; stage: 办理中, 同意 or 不予同意."""

JUDGMENTS: Columns = {
    "KIND": "kind",
    "CASE_NO": "case",
    "COURT": "court",
    "CAUSE": "cause",
    "EFFECTIVE_ON": "effective",
    "PERFORMANCE": "outcome",
    "RESULT": "result",
    "AMOUNT": "amount",
}
"""Kind: 判决书, 裁定书, 调解书 or 仲裁裁决书."""

CRIMES: Columns = {
    "CASE_NO": "case",
    "COURT": "court",
    "CHARGE": "charge",
    "EFFECTIVE_ON": "effective",
    "SENTENCE": "sentence",
    "TERM_ENDS": "term_ends",
}

CONTRACTS: Columns = {
    "CONTRACT_NO": "contract",
    "KIND": "kind",
    "PROJECT_NO": "project",
    "ROLE": "role",
    "SIGNED_ON": "signed",
    "DUE_ON": "due",
    "PERFORMANCE": "outcome",
    "AUTHORITY": "authority",
    "CONDUCT": "conduct",
    "AMOUNT": "amount",
}

CHARITY: Columns = {
    "KIND": "kind",
    "TITLE": "title",
    "DONE_ON": "done",
    "AUTHORITY": "authority",
    "DOC_NO": "document",
    "HOURS": "hours",
    "CONTENT": "content",
    "AMOUNT": "amount",
}
"""Kind: 慈善捐赠, 志愿服务 or 见义勇为."""

PROPERTIES: Columns = {
    "KIND": "kind",
    "REG_NO": "registration",
    "TITLE": "title",
    "REG_DATE": "registered",
    "VALID_TO": "valid_until",
    "STATUS": "status",
    "PLEDGED": "pledged",
    "PLEDGE_NO": "pledge",
    "AUTHORITY": "authority",
}
"""Kind: 专利, 商标, 软件著作权 or 地理标志."""

VOLUNTARY: Columns = {
    "KIND": "kind",
    "TITLE": "title",
    "DECLARED_ON": "declared",
    "DECLARED_OPEN": "declared_open",
    "VERIFIED": "verified",
    "CONTENT": "content",
}

UTILITIES: Columns = {
    "KIND": "kind",
    "PERIOD": "period",
    "STATUS": "status",
    "ADDRESS": "address",
    "AMOUNT": "amount",
    "PAID_ON": "paid",
}
"""Kind: 自来水, 电力, 燃气 or 供热."""

CREDIT_REPORTS: Columns = {
    "REPORT_NO": "report",
    "REPORT_DATE": "reported",
    "REASON": "reason",
    "ACCOUNTS": "accounts",
    "OVERDUE": "overdue",
    "STATEMENT": "statement",
    "SCORE": "score",
}

REGISTRATIONS: Columns = {
    "NAME": "name",
    "CODE": "credit_code",
    "REG_NO": "registration_number",
    "FORM": "legal_form",
    "STATUS": "status",
    "HEAD": "representative",
    "HEAD_ID": "representative_number",
    "FOUNDED": "registered",
    "CAPITAL": "capital",
    "SCOPE": "business_scope",
    "ADDRESS": "address",
    "PROVINCE": "province",
    "CITY": "city",
    "REGISTRAR": "registrar",
}

ABNORMAL: Columns = {
    "LIST_NAME": "list_name",
    "LISTED_ON": "listed",
    "REMOVED_ON": "removed",
    "REASON": "reason",
    "DOC_NO": "document",
    "AUTHORITY": "authority",
    "REMOVAL_REASON": "removal_reason",
}

COMMITMENTS: Columns = {
    "COMMITMENT_NO": "commitment_number",
    "KIND": "kind",
    "MATTER": "matter",
    "CONTENT": "content",
    "COMMITTED_ON": "committed",
    "DUE_ON": "due",
    "PERFORMANCE": "outcome",
    "AUTHORITY": "authority",
}

EVALUATIONS: Columns = {
    "EVALUATOR": "evaluator",
    "SCHEME": "scheme",
    "GRADE": "grade",
    "DOMAIN": "domain",
    "EVALUATED_ON": "evaluated",
    "VALID_TO": "valid_until",
}
