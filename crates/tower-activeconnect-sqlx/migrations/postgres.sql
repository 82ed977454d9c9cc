CREATE TABLE IF NOT EXISTS "activeconnect_token_migrations" (
    version BIGINT NOT NULL PRIMARY KEY,
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "activeconnect_token" (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id TEXT NOT NULL UNIQUE,
    token TEXT NOT NULL UNIQUE,
    FOREIGN KEY (user_id) REFERENCES "users" ("id") ON DELETE CASCADE
);
INSERT INTO "activeconnect_token_migrations" (version) VALUES (1);

CREATE TABLE "activeconnect_token_browser_epoch" (
    user_id TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    FOREIGN KEY (user_id) REFERENCES "users" ("id") ON DELETE CASCADE
);
INSERT INTO "activeconnect_token_migrations" (version) VALUES (2);
