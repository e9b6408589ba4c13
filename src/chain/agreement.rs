//! When answers of several endpoints count as one. Pure.

use super::{ChainError, EndpointError};

/// The answer that at least `quorum` endpoints gave, or why there is none. Two different answers
/// that both reach the quorum are no agreement.
pub fn agree<T: PartialEq + Clone>(
    what: &str,
    quorum: usize,
    answers: &[Result<T, EndpointError>],
) -> Result<T, ChainError> {
    let given: Vec<&T> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    let support = |candidate: &T| given.iter().filter(|answer| **answer == candidate).count();
    let best = given.iter().max_by_key(|candidate| support(candidate));
    match best {
        Some(best) if support(best) >= quorum => {
            let rival = given.iter().any(|other| other != best && support(other) >= quorum);
            if !rival {
                return Ok((*best).clone());
            }
        }
        _ => {}
    }
    let refusals: Vec<String> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .map(ToString::to_string)
        .collect();
    let detail = match (refusals.is_empty(), given.len()) {
        (true, 0 | 1) => String::new(),
        (true, _) => "; their answers differ".into(),
        (false, _) => format!("; {}", refusals.join("; ")),
    };
    Err(ChainError::NoAgreement {
        what: what.into(),
        answered: given.len(),
        endpoints: answers.len(),
        quorum,
        detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (usize, Vec<Result<bool, EndpointError>>, Option<bool>);

    fn failed() -> Result<bool, EndpointError> {
        Err(EndpointError::Silent { endpoint: "node".into() })
    }

    #[test]
    fn enough_equal_answers_decide_and_nothing_else_does() {
        let (yes, no) = (Ok(true), Ok(false));
        let cases: Vec<Case> = vec![
            (1, vec![yes.clone()], Some(true)),
            (1, vec![no.clone()], Some(false)),
            (1, vec![failed()], None),
            (2, vec![yes.clone(), failed()], None),
            (2, vec![yes.clone(), failed(), yes.clone()], Some(true)),
            (2, vec![yes.clone(), no.clone(), yes.clone()], Some(true)),
            (2, vec![yes.clone(), no.clone()], None),
            (1, vec![yes.clone(), no.clone()], None),
            (2, vec![yes.clone(), yes.clone(), no.clone(), no.clone()], None),
            (1, vec![], None),
        ];
        for (quorum, answers, expected) in cases {
            assert_eq!(agree("it", quorum, &answers).ok(), expected, "{quorum} of {answers:?}");
        }
    }
}
