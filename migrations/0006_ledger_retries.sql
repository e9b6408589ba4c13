-- Entries of the ledger whose path is unknown, in the order they are taken: those never tried
-- before, the newest first, then the others. With one index for both, a backlog of receipts that
-- nobody has any more costs nothing.

update ledger set path_retry_at = '-infinity' where path_retry_at is null;

alter table ledger
    alter column path_retry_at set default '-infinity',
    alter column path_retry_at set not null;

drop index ledger_without_path;
create index ledger_without_path on ledger (chain_id, path_retry_at, block_number desc)
    where acted_by is null;
