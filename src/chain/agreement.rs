//! When answers of several endpoints count as one. Pure.

use super::{ChainError, EndpointError};

/// How many of how many endpoints must say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    pub needed: usize,
    pub endpoints: usize,
}

impl Quorum {
    /// Whether no two answers can both have enough endpoints behind them, so that the first one
    /// that has them decides.
    pub fn is_majority(self) -> bool {
        self.needed * 2 > self.endpoints
    }

    /// The answer that enough endpoints gave, or why there is none. Two different answers that
    /// both reach the quorum are no agreement.
    pub fn agree<T: PartialEq + Clone>(
        self,
        what: &str,
        answers: &[Result<T, EndpointError>],
    ) -> Result<T, ChainError> {
        let given: Vec<&T> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
        let support = |candidate: &T| given.iter().filter(|answer| **answer == candidate).count();
        let has_enough = |candidate: &&&T| support(candidate) >= self.needed;
        if let Some(best) = given.iter().find(has_enough)
            && !given.iter().filter(has_enough).any(|rival| rival != best)
        {
            return Ok((*best).clone());
        }
        let refusals: Vec<String> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().err())
            .map(ToString::to_string)
            .collect();
        let differ = given.iter().any(|answer| *answer != given[0]);
        let mut detail = String::new();
        if differ {
            detail.push_str("; their answers differ");
        }
        if !refusals.is_empty() {
            detail = format!("{detail}; {}", refusals.join("; "));
        }
        Err(ChainError::NoAgreement {
            what: what.into(),
            answered: given.len(),
            endpoints: self.endpoints,
            quorum: self.needed,
            detail,
        })
    }

    /// The highest number that enough endpoints have reached.
    pub fn reached(self, mut numbers: Vec<u64>) -> Option<u64> {
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        numbers.get(self.needed - 1).copied()
    }
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
        for (needed, answers, expected) in cases {
            let quorum = Quorum { needed, endpoints: answers.len() };
            assert_eq!(quorum.agree("it", &answers).ok(), expected, "{needed} of {answers:?}");
        }
    }

    #[test]
    fn the_head_is_what_enough_endpoints_have_reached() {
        let reached = |needed, numbers: &[u64]| {
            Quorum { needed, endpoints: numbers.len() }.reached(numbers.to_vec())
        };
        assert_eq!(reached(1, &[7, 12, 9]), Some(12));
        assert_eq!(reached(2, &[7, 12, 9]), Some(9));
        assert_eq!(reached(3, &[7, 12, 9]), Some(7));
        assert_eq!(reached(2, &[7]), None);
    }

    #[test]
    fn a_refusal_beside_differing_answers_hides_neither() {
        let quorum = Quorum { needed: 2, endpoints: 3 };
        let error = quorum.agree("it", &[Ok(1), failed().map(|_| 0), Ok(2)]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("differ") && text.contains("node does not answer"), "{text}");
    }
}
