-- Which instances a person is asked about who is to say how a commit ended. One who says "none" rules
-- these out, and no other.
alter table commit_attempts add column asked_about text[] not null default '{}';
