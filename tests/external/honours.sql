CREATE TABLE honours (
    number TEXT PRIMARY KEY, uscc TEXT NOT NULL, title TEXT NOT NULL, tier INTEGER NOT NULL, awarded TEXT NOT NULL,
    awarded_by TEXT NOT NULL, clerk TEXT NOT NULL
);
INSERT INTO honours VALUES
    ('H-1', '91990105EXTN00014L', '质量奖', 2, '2023-05-04', '示例市人民政府', '虚甲'),
    ('H-2', '91990105EXTN00014L', '守合同重信用企业', 3, '2024-06-01', '示例市市场监督管理局', '虚乙'),
    ('H-3', '91990105EXTN00014L', '绿色工厂', 1, '2025-09-30', '工业和信息化部', '虚甲'),
    ('H-4', '91990105EXTN00030A', '质量奖', 2, '2023-05-04', '示例市人民政府', '虚甲');
