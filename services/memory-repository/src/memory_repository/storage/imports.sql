-- An import in progress. Its rows lie in a repository that no agent's name can name (`<agent>:import`) until the last
-- line is in: then that repository gets the agent's name, all at once.

CREATE TABLE IF NOT EXISTS import_open (
    repo_id   INTEGER PRIMARY KEY REFERENCES repository,
    hashed    INTEGER NOT NULL,
    keyed     INTEGER NOT NULL,
    lines     INTEGER NOT NULL,             -- how many are in, and their digest: where to go on
    digest    TEXT NOT NULL,
    commits   INTEGER NOT NULL,
    refs      INTEGER NOT NULL,
    begun     TEXT                          -- the line of the commit whose changes are coming in
);

CREATE TABLE IF NOT EXISTS import_commit (
    repo_id    INTEGER NOT NULL REFERENCES repository,
    label      TEXT NOT NULL,
    commit_no  INTEGER NOT NULL REFERENCES commits,
    PRIMARY KEY (repo_id, label)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS import_version (
    repo_id     INTEGER NOT NULL REFERENCES repository,
    memory_id   TEXT NOT NULL,
    hash        TEXT NOT NULL,              -- as the file has it; the key here may be another
    version_id  INTEGER NOT NULL REFERENCES version,
    PRIMARY KEY (repo_id, memory_id, hash)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS import_change (
    repo_id     INTEGER NOT NULL REFERENCES repository,
    memory_id   TEXT NOT NULL,
    hash        TEXT,
    version_id  INTEGER REFERENCES version, -- NULL = deleted
    writer_no   INTEGER REFERENCES commits, -- NULL = the commit that comes in
    PRIMARY KEY (repo_id, memory_id)
) WITHOUT ROWID;
