//! What the common boot errors mean, and what to do about them. Pure.
//!
//! Before a CVM gets its keys, the KMS asks its own contract (is the app registered? is the OS image
//! allowed?) and then the app's (TCB, compose hash, device), in this order. Their reasons are those of
//! dstack's `DstackKms.isAppAllowed` and `DstackApp.isAppAllowed`; Phala Cloud passes them on.

/// A reason as it stands in a boot error, in small letters, and what is behind it.
const KNOWN: &[(&str, &str)] = &[
    (
        "os image is not allowed",
        "The KMS contract does not allow the OS image of this node. Its owner must allow the image, \
         or the replica must be made on a node with an image that is allowed",
    ),
    (
        "os image not allowed",
        "The KMS contract does not allow the OS image of this node. Its owner must allow the image, \
         or the replica must be made on a node with an image that is allowed",
    ),
    (
        "app not registered",
        "The KMS contract does not know this app. It must be registered there before any replica of \
         it gets keys",
    ),
    (
        "device not allowed",
        "The device that booted is not in the app's allowlist, although the approved one is: the \
         node's device id may have changed with its firmware. Prepare again; the new id needs an \
         approval of its own",
    ),
    (
        "device is not allowed",
        "The device that booted is not in the app's allowlist, although the approved one is: the \
         node's device id may have changed with its firmware. Prepare again; the new id needs an \
         approval of its own",
    ),
    (
        "compose hash not allowed",
        "What booted has another compose hash than the one that was approved, or the owner has \
         removed it since. Compare it with the request, and look at `countersign audit`",
    ),
    (
        "tcb status is not up to date",
        "The app demands an up-to-date TCB, and this machine's firmware or microcode is not. The \
         operator of the node must update it (which changes its device id), or the replica must be \
         made on another node",
    ),
    (
        "tcb",
        "The machine's TCB was not accepted: its firmware or microcode may be out of date. The \
         operator of the node must update it, or the replica must be made on another node",
    ),
    (
        "app not deployed",
        "The KMS found no contract at the app's address. It may read another chain",
    ),
    (
        "no resources",
        "The node ran out of room between the commit and the boot. It may come up once there is room",
    ),
];

/// What a boot error means, if it is one of the common ones.
pub fn explain(error: &str) -> Option<&'static str> {
    let error = error.to_lowercase();
    KNOWN.iter().find(|(part, _)| error.contains(part)).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_the_contracts_are_explained() {
        for (error, says) in [
            ("KMS rejected: OS image is not allowed", "OS image of this node"),
            ("App not registered", "does not know this app"),
            ("boot failed: Device not allowed", "changed with its firmware"),
            ("Compose hash not allowed", "another compose hash"),
            ("TCB status is not up to date", "demands an up-to-date TCB"),
            ("qe: tcb status OutOfDate", "was not accepted"),
            ("App not deployed or invalid address", "no contract"),
        ] {
            let meaning = explain(error).unwrap_or_else(|| panic!("{error} is not explained"));
            assert!(meaning.contains(says), "{error}: {meaning}");
        }
        assert_eq!(explain("no space left on device"), None);
    }
}
