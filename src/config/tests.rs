use super::*;

fn read(file: &str) -> Result<Settings, ConfigError> {
    Settings::read(file, Overrides::default())
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let settings = read("").unwrap();
    assert_eq!(settings.listen.port(), 8465);
    assert!(settings.chains.is_empty() && !settings.open_reads);
}

#[test]
fn a_chain_has_sane_defaults_and_flags_win() {
    let file =
        "[chains.8453]\nrpc = ['https://a.example', 'https://b.example', 'https://c.example']";
    let base = &read(file).unwrap().chains[0];
    assert_eq!((base.quorum, base.depth), (2, DepthPolicy::Safe));
    assert_eq!(base.relayer, RelayerCaps::default_for(base.id));
    let flags = Overrides {
        chains: vec!["8453=http://127.0.0.1:1;depth=2;poll_ms=100;relayer_max_fee_gwei=0.5".into()],
        ..Overrides::default()
    };
    let base = &Settings::read(file, flags).unwrap().chains[0];
    assert_eq!((base.rpc.len(), base.quorum, base.depth), (1, 1, DepthPolicy::Blocks(2)));
    assert_eq!(base.poll, Duration::from_millis(100));
    assert_eq!(base.relayer.max_fee, 500_000_000);
}

#[test]
fn every_mistake_names_its_setting() {
    for (file, names) in [
        ("listen = 'nowhere'", "listen"),
        ("lisen = '127.0.0.1:1'", "lisen"),
        ("phala_api_prefix = 'ftp://x'", "phala_api_prefix"),
        ("[chains.zero]\nrpc = ['http://x']", "chains.zero"),
        ("[chains.1]\nrpc = []", "chains.1.rpc"),
        ("[chains.1]\nrpc = ['http://x']\nquorum = 2", "chains.1.quorum"),
        ("[chains.1]\nrpc = ['http://x', 'http://x/']", "chains.1.rpc"),
        ("[chains.1]\nrpc = ['http://x']\ndepth = 'deep'", "chains.1.depth"),
        ("[chains.1]\nrpc = ['http://x']\npoll_ms = 1", "chains.1.poll_ms"),
        ("[chains.1]\nrpc = ['http://x']\ncalls_per_second = 0", "chains.1.calls_per_second"),
        ("phala_calls_per_second = 0", "phala_calls_per_second"),
        ("[chains.1]\nrpc = ['http://x']\nkms = ['0x12']", "chains.1.kms"),
        ("[chains.1]\nrpc = ['http://x']\nsafe_service = 'on'", "chains.1.safe_service"),
        (
            "[chains.1]\nrpc = ['http://x']\nrelayer_max_fee_gwei = 'cheap'",
            "chains.1.relayer_max_fee_gwei",
        ),
        ("[chains.1]\nrpc = ['http://x']\nrelayer_max_gas = 20999", "chains.1.relayer_max_gas"),
        ("public_url = 'here'", "public_url"),
        ("public_url = 'https://me:secret@here.example'", "public_url"),
        ("public_url = 'https://here.example/?a=b'", "public_url"),
    ] {
        let error = read(file).unwrap_err().to_string();
        assert!(error.contains(names), "{error:?} should name {names}");
    }
}

#[test]
fn a_wrong_endpoint_is_not_repeated() {
    let error = read("[chains.1]\nrpc = ['ftp://x/secret-key']").unwrap_err().to_string();
    assert!(!error.contains("secret-key"), "{error}");
}
