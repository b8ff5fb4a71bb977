CREATE TABLE service_tokens (
    token_id INTEGER NOT NULL,
    name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    scopes TEXT NOT NULL,
    tools TEXT NOT NULL,
    created_at DATETIME DEFAULT (strftime('%Y-%m-%d %H:%M:%f000', 'now')) NOT NULL,
    created_by VARCHAR(255) NOT NULL,
    expires_at DATETIME,
    revoked_at DATETIME,
    CONSTRAINT pk_service_tokens PRIMARY KEY (token_id),
    CONSTRAINT uq_service_tokens_sha256 UNIQUE (sha256)
);
