-- The tables of a store; kneeal.annotate.schema makes them.
CREATE TABLE IF NOT EXISTS setting (     -- what belongs to the run: its id, readers per knee, share of silent repeats
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reader (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  reads INTEGER NOT NULL,        -- is given knees to read
  adjudicates INTEGER NOT NULL,  -- decides where readings differ
  created REAL NOT NULL,
  removed REAL,                  -- her readings stay
  planned INTEGER NOT NULL DEFAULT 0,  -- newest query whose repeats are planned
  informed INTEGER NOT NULL DEFAULT 0  -- newest query in which she has been shown readings of others
);
CREATE TABLE IF NOT EXISTS link (              -- one-time links; only a digest is kept
  digest TEXT PRIMARY KEY,
  reader INTEGER NOT NULL REFERENCES reader,
  expires REAL NOT NULL,
  used REAL
);
CREATE TABLE IF NOT EXISTS session (
  digest TEXT PRIMARY KEY,
  reader INTEGER NOT NULL REFERENCES reader,
  csrf TEXT NOT NULL,
  expires REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS knee (              -- every knee that was queried, once
  id INTEGER PRIMARY KEY,
  knee_id TEXT NOT NULL UNIQUE,
  query INTEGER NOT NULL,        -- the query it is in, from 1; an open knee is carried into the next one
  position INTEGER NOT NULL,
  taken INTEGER NOT NULL DEFAULT 0,   -- first readings begun and not put off
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'disagreed', 'settled', 'closed')),
  kl INTEGER,                    -- of a settled or closed knee; NULL is unreadable
  rule TEXT,                     -- single, agreed, adjudicated; file where the answer did not come from here
  closed REAL                    -- when it went to training
);
CREATE INDEX IF NOT EXISTS knee_open ON knee (state, query, position);
CREATE TABLE IF NOT EXISTS planned (           -- which knees a reader is silently given twice
  knee INTEGER NOT NULL REFERENCES knee,
  reader INTEGER NOT NULL REFERENCES reader,
  due INTEGER,                   -- number of her answers from which on; NULL before her first reading
  PRIMARY KEY (reader, knee)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS planned_knee ON planned (knee);
CREATE TABLE IF NOT EXISTS task (              -- one reading of one knee by one reader
  id INTEGER PRIMARY KEY,        -- random, so that a reader learns nothing from it
  knee INTEGER NOT NULL REFERENCES knee,
  reader INTEGER NOT NULL REFERENCES reader,
  kind TEXT NOT NULL CHECK (kind IN ('first', 'repeat', 'adjudication')),
  picture TEXT NOT NULL,         -- known only to who was sent the picture of this task
  begun REAL NOT NULL,
  later REAL,                    -- when the reader put it off
  current INTEGER REFERENCES answer,       -- the answer that holds; NULL while the task is open
  looked REAL,                   -- when the reader was shown the model's prediction
  UNIQUE (knee, reader, kind)
);
CREATE INDEX IF NOT EXISTS task_reader ON task (reader, current, knee);
CREATE TABLE IF NOT EXISTS answer (            -- append only: nothing here is ever changed or removed
  id INTEGER PRIMARY KEY,
  task INTEGER NOT NULL REFERENCES task,
  kl INTEGER CHECK (kl BETWEEN 0 AND 4),
  reason TEXT,                   -- why the knee cannot be graded
  undone INTEGER NOT NULL DEFAULT 0,       -- this row takes back the one it replaces
  seconds REAL NOT NULL,         -- the knee was on a visible page for so long
  at REAL NOT NULL,
  replaces INTEGER UNIQUE REFERENCES answer,
  nonce TEXT NOT NULL UNIQUE,    -- of the page's request: counts once, however often it is sent
  measurements TEXT NOT NULL DEFAULT '[]',
  findings TEXT NOT NULL DEFAULT '[]',
  comment TEXT NOT NULL DEFAULT '',
  CHECK ((kl IS NOT NULL) + (reason IS NOT NULL) + undone = 1)
);
CREATE INDEX IF NOT EXISTS answer_task ON answer (task);
CREATE TRIGGER IF NOT EXISTS answer_is_kept BEFORE DELETE ON answer
BEGIN SELECT RAISE(ABORT, 'answers are kept'); END;
CREATE TRIGGER IF NOT EXISTS answer_stays BEFORE UPDATE ON answer
BEGIN SELECT RAISE(ABORT, 'answers stay as they are'); END;
