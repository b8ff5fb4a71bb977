CREATE TABLE service_tokens (
    token_id SERIAL NOT NULL,
    name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    scopes TEXT NOT NULL,
    tools TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by VARCHAR(255) NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_service_tokens PRIMARY KEY (token_id),
    CONSTRAINT uq_service_tokens_sha256 UNIQUE (sha256)
);

COMMENT ON TABLE service_tokens IS 'who may use the service, and for what';

COMMENT ON COLUMN service_tokens.name IS 'who holds it';

COMMENT ON COLUMN service_tokens.sha256 IS 'of the secret, which is stored nowhere';

COMMENT ON COLUMN service_tokens.scopes IS 'JSON list: ingest, read, operate, approve';

COMMENT ON COLUMN service_tokens.tools IS 'JSON list: the tools it may record; empty is every tool';
