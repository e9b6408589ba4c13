-- Who else acts for the Safe of a proposal (modules, guards, the fallback handler) and which of its
-- owners are contracts, when it was last looked at. Shown to signers; decides nothing.
alter table proposals add column around jsonb
    check (around is null or safe_tx is not null);
