-- Besides signatures by a key, confirmations are approvals on chain, of the same length, and
-- signatures of contracts, with the bytes that the contract answers for behind them.
alter table confirmations drop constraint confirmations_signature_check;
alter table confirmations add constraint confirmations_signature_check
    check (octet_length(signature) between 65 and 16384);
