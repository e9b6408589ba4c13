-- Attempts in the order they were written. `started_at` is told by the clock of the instance that
-- made the attempt, and two instances may differ: by it, a later attempt could seem the first one.

alter table commit_attempts add column number bigint not null generated always as identity;
