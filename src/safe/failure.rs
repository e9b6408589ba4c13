//! Why a Safe refuses, in words.

/// What an error code of a Safe means: 1.3.0 to 1.5.0, from the contracts' own sources. Older Safes
/// say it in words themselves.
#[must_use]
pub fn code_in_words(code: &str) -> Option<&'static str> {
    Some(match code {
        "GS000" => "its setup failed",
        "GS001" => "it has no threshold",
        "GS002" => "there is no code at the address to delegate to",
        "GS010" => "there is not enough gas for safeTxGas",
        "GS011" => "it could not pay the refund in ether",
        "GS012" => "it could not pay the refund in the token",
        "GS013" => "the call that it makes failed",
        "GS020" => "there are not enough signatures",
        "GS021" => "a contract's signature points into the others",
        "GS022" | "GS023" => "a contract's signature is cut off",
        "GS024" => "a contract does not confirm its signature",
        "GS025" => "a hash was not approved",
        "GS026" => "a signature is not of an owner, or not in order",
        "GS030" => "only an owner may approve",
        "GS031" => "only the Safe itself may call this",
        "GS100" => "its modules are set up already",
        "GS101" => "that is no address for a module",
        "GS102" => "the module is enabled already",
        "GS103" => "the module and the one before it do not fit",
        "GS104" => "the caller is not a module",
        "GS105" => "the list of modules has no such start",
        "GS106" => "a page of modules cannot be empty",
        "GS200" => "its owners are set up already",
        "GS201" => "the threshold would exceed the number of owners",
        "GS202" => "the threshold would be zero",
        "GS203" => "that is no address for an owner",
        "GS204" => "that is an owner already",
        "GS205" => "the owner and the one before it do not fit",
        "GS300" => "the guard does not say that it is one",
        "GS301" => "the guard of modules does not say that it is one",
        "GS400" => "the Safe cannot be its own fallback handler",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_words_and_nothing_else_has() {
        assert_eq!(code_in_words("GS013"), Some("the call that it makes failed"));
        for other in ["", "GS", "GS999", "gs013", "GS013 "] {
            assert_eq!(code_in_words(other), None, "{other:?}");
        }
    }
}
