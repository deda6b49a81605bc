-- What real schemas hold, small. `dataset.py` runs this file and fills the tables.
-- A statement ends at a semicolon before an empty line, so that bodies of triggers and routines stay whole.

CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4;

CREATE DATABASE analytics DEFAULT CHARACTER SET utf8mb4;

CREATE DATABASE media DEFAULT CHARACTER SET utf8mb4;

CREATE DATABASE bulk DEFAULT CHARACTER SET utf8mb4;

CREATE DATABASE `odd-names.ü` DEFAULT CHARACTER SET utf8mb4;

CREATE UNDO TABLESPACE dataset_undo ADD DATAFILE 'dataset_undo.ibu';

CREATE TABLESPACE shop_general ADD DATAFILE 'shop_general.ibd' ENGINE = InnoDB;

CREATE TABLE bulk.seed (
    id INT UNSIGNED NOT NULL PRIMARY KEY,
    digits CHAR(160) CHARACTER SET ascii NOT NULL,
    words VARCHAR(1000) NOT NULL
);

CREATE TABLE shop.users (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    email VARCHAR(120) NOT NULL,
    name VARCHAR(80) NOT NULL,
    profile JSON NOT NULL,
    country CHAR(2) GENERATED ALWAYS AS (profile ->> '$.country') STORED,
    age TINYINT UNSIGNED GENERATED ALWAYS AS (profile ->> '$.age') VIRTUAL,
    created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    UNIQUE KEY (email),
    KEY by_country (country, created_at DESC),
    KEY by_age (age),
    KEY by_tags ((CAST(profile -> '$.tags' AS UNSIGNED ARRAY)))
);

CREATE TABLE shop.orders (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id INT UNSIGNED NOT NULL,
    status ENUM ('new', 'paid', 'sent', 'returned') NOT NULL,
    total DECIMAL(12, 2) NOT NULL DEFAULT 0 CHECK (total >= 0),
    ordered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    KEY (user_id),
    KEY unseen (status) INVISIBLE,
    FOREIGN KEY (user_id) REFERENCES shop.users (id) ON DELETE CASCADE
);

CREATE TABLE shop.order_items (
    order_id INT UNSIGNED NOT NULL,
    line SMALLINT UNSIGNED NOT NULL,
    product VARCHAR(60) CHARACTER SET latin1 NOT NULL,
    quantity INT NOT NULL,
    price DECIMAL(10, 2) NOT NULL,
    amount DECIMAL(12, 2) AS (quantity * price) STORED,
    PRIMARY KEY (order_id, line),
    FOREIGN KEY (order_id) REFERENCES shop.orders (id) ON DELETE CASCADE
);

CREATE TABLE shop.order_log (
    at DATETIME(6) NOT NULL,
    order_id INT UNSIGNED NOT NULL,
    what VARCHAR(40) NOT NULL
) ROW_FORMAT = REDUNDANT;

CREATE TABLE shop.settings (name VARCHAR(60) NOT NULL PRIMARY KEY, value TEXT NOT NULL) TABLESPACE shop_general;

CREATE TABLE shop.currencies (code CHAR(3) NOT NULL PRIMARY KEY, rate DOUBLE NOT NULL) TABLESPACE shop_general;

CREATE TRIGGER shop.item_added AFTER INSERT ON shop.order_items FOR EACH ROW
    UPDATE shop.orders SET total = total + NEW.amount WHERE id = NEW.order_id;

CREATE TRIGGER shop.order_changed AFTER UPDATE ON shop.orders FOR EACH ROW
BEGIN
    IF NEW.status <> OLD.status THEN
        INSERT INTO shop.order_log VALUES (NOW(6), NEW.id, CONCAT(OLD.status, ' to ', NEW.status));
    END IF;
END;

CREATE VIEW shop.customers AS
    SELECT u.id, u.name, u.country, COUNT(o.id) AS orders, SUM(o.total) AS spent
    FROM shop.users u LEFT JOIN shop.orders o ON o.user_id = u.id GROUP BY u.id, u.name, u.country;

CREATE FUNCTION shop.with_tax(amount DECIMAL(12, 2)) RETURNS DECIMAL(12, 2) DETERMINISTIC
    RETURN ROUND(amount * 1.19, 2);

CREATE PROCEDURE shop.send_paid_orders(IN how_many INT)
BEGIN
    UPDATE shop.orders SET status = 'sent' WHERE status = 'paid' ORDER BY id LIMIT how_many;
    SELECT ROW_COUNT() AS sent;
END;

CREATE EVENT shop.forget_old_log ON SCHEDULE EVERY 1 DAY STARTS CURRENT_TIMESTAMP + INTERVAL 1 DAY
    DO DELETE FROM shop.order_log WHERE at < NOW() - INTERVAL 90 DAY;

CREATE TABLE analytics.test_results (
    id BIGINT NOT NULL AUTO_INCREMENT,
    user_id BIGINT NOT NULL,
    created_at DATETIME NOT NULL,
    score DECIMAL(6, 3) NOT NULL,
    answers JSON NOT NULL,
    notes VARCHAR(400) NOT NULL,
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (TO_DAYS(created_at)) (
    PARTITION p202401 VALUES LESS THAN (TO_DAYS('2024-02-01')),
    PARTITION p202402 VALUES LESS THAN (TO_DAYS('2024-03-01')),
    PARTITION p202403 VALUES LESS THAN (TO_DAYS('2024-04-01')),
    PARTITION p202404 VALUES LESS THAN (TO_DAYS('2024-05-01')),
    PARTITION p202405 VALUES LESS THAN (TO_DAYS('2024-06-01')),
    PARTITION p202406 VALUES LESS THAN (TO_DAYS('2024-07-01')),
    PARTITION later VALUES LESS THAN MAXVALUE
);

CREATE TABLE analytics.visits (
    user_id INT NOT NULL,
    day DATE NOT NULL,
    visits INT NOT NULL,
    PRIMARY KEY (user_id, day)
) PARTITION BY RANGE (YEAR(day)) SUBPARTITION BY HASH (user_id) SUBPARTITIONS 2 (
    PARTITION old VALUES LESS THAN (2025),
    PARTITION now VALUES LESS THAN MAXVALUE
);

CREATE TABLE media.articles (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    title VARCHAR(100) NOT NULL,
    body TEXT NOT NULL,
    FULLTEXT KEY (title, body)
);

CREATE TABLE media.places (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(60) NOT NULL,
    at POINT NOT NULL SRID 4326,
    SPATIAL KEY (at)
);

CREATE TABLE media.documents (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user_id INT UNSIGNED NOT NULL,
    state JSON NOT NULL,
    body MEDIUMTEXT NOT NULL
);

CREATE TABLE media.images (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    checksum BINARY(32) AS (UNHEX(SHA2(content, 256))) STORED,
    content LONGBLOB NOT NULL
);

CREATE TABLE media.archive_8k (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    body VARCHAR(1000) NOT NULL
) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 8;

CREATE TABLE media.archive_4k (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    body VARCHAR(1000) NOT NULL
) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 4;

CREATE TABLE media.logs (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    body VARCHAR(1000) NOT NULL
) COMPRESSION = 'zlib';

CREATE TABLE `odd-names.ü`.`from, "to" & ß` (`a b` INT PRIMARY KEY, `select` VARCHAR(20)) ROW_FORMAT = COMPACT;

CREATE TABLE `odd-names.ü`.`#sql-like@0024` (id INT);

CREATE TABLE `odd-names.ü`.empty (id INT);

CREATE TABLE `odd-names.ü`.versions (id INT PRIMARY KEY, first_column INT, body VARCHAR(40));
