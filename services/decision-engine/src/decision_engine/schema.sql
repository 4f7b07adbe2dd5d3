-- What decision-engine keeps beside the inbox and the outbox. An agent's whole state is one JSON value: it is read and
-- written whole, by one handler at a time. Experiments and decisions are kept apart from it, for the requests.
CREATE TABLE IF NOT EXISTS agents(
    tenant TEXT NOT NULL, agent TEXT NOT NULL, state BLOB NOT NULL, figures TEXT NOT NULL, wake_at TEXT,
    PRIMARY KEY (tenant, agent)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS agents_by_wake_at ON agents(wake_at) WHERE wake_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS experiments(
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL, agent TEXT NOT NULL, experiment_id TEXT NOT NULL, record TEXT NOT NULL,
    UNIQUE (tenant, agent, experiment_id));
CREATE TABLE IF NOT EXISTS decisions(
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL, agent TEXT NOT NULL, record TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS decisions_by_agent ON decisions(tenant, agent, position);
