CREATE TABLE IF NOT EXISTS `activeconnect_token_migrations` (
    version BIGINT NOT NULL PRIMARY KEY,
    applied_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS `activeconnect_token` (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL UNIQUE,
    token VARBINARY(256) NOT NULL UNIQUE,
    FOREIGN KEY (user_id) REFERENCES `users` (`id`) ON DELETE CASCADE
) ENGINE = InnoDB;
INSERT INTO `activeconnect_token_migrations` (version) VALUES (1);

CREATE TABLE IF NOT EXISTS `activeconnect_token_browser_epoch` (
    user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    FOREIGN KEY (user_id) REFERENCES `users` (`id`) ON DELETE CASCADE
) ENGINE = InnoDB;
INSERT INTO `activeconnect_token_migrations` (version) VALUES (2);
