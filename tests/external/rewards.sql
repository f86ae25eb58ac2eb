CREATE TABLE rewards (
    id INTEGER PRIMARY KEY, organisation TEXT NOT NULL, title TEXT NOT NULL, decision TEXT, decided DATE NOT NULL,
    facts TEXT, withdrawn DATE
);
CREATE VIEW shared_rewards AS
    SELECT id, organisation, title, decision, decided, facts, withdrawn, 'internal' AS remark FROM rewards;
INSERT INTO rewards VALUES
    (1, '91990105EXTN00014L', '科技进步奖', '示科奖〔2024〕1号', '2024-01-02', '新工艺', NULL),
    (2, '91990105EXTN00014L', '安全生产先进', NULL, '2025-04-05', '无事故', '2025-12-31'),
    (3, '91990105EXTN00030A', '科技进步奖', '示科奖〔2024〕2号', '2024-01-02', NULL, NULL);
CREATE ROLE gateway LOGIN PASSWORD 'password-of-the-view';
GRANT SELECT ON shared_rewards TO gateway;
