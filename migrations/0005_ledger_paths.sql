-- Who made each entry of the ledger. It is found from the receipt of the transaction, after the
-- fact, so that it holds up neither following nor reading history.

alter table ledger
    -- Who sent the transaction.
    add column sender bytea check (octet_length(sender) = 20),
    -- Who called the app, and how; `kind` names the way.
    add column acted_by jsonb,
    -- How often the receipt could not be had, and when it is asked for again.
    add column path_tries integer not null default 0 check (path_tries >= 0),
    add column path_retry_at timestamptz,
    add constraint ledger_path check ((sender is null) = (acted_by is null));

create index ledger_without_path on ledger (chain_id, block_number desc) where acted_by is null;
