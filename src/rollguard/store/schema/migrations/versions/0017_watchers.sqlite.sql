CREATE TABLE watchers (
    watcher_id VARCHAR(255) NOT NULL,
    host VARCHAR(255) NOT NULL,
    pid INTEGER NOT NULL,
    started_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    seen_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    checked_at DATETIME,
    interval_seconds FLOAT NOT NULL,
    reported_at DATETIME,
    CONSTRAINT pk_watchers PRIMARY KEY (watcher_id)
);
