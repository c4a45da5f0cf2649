CREATE TABLE asked (question TEXT NOT NULL, answer TEXT NOT NULL, attempts INTEGER NOT NULL);
