//! What acts at once: create a replica of an app that no chain governs, and delete an instance.

use reqwest::Method;
use serde_json::Value;

use super::{Instance, PhalaCloud, PhalaError, act::dashed, expect_success, fields::Fields};
use crate::request::ids::{ReplicaId, SourceCvm};

/// A replica that was created, and what Phala Cloud tells of it.
#[derive(Debug, Clone)]
pub struct Created {
    pub instance: Instance,
    pub vm: Value,
}

/// What is told of a CVM beside what decides: its team, and who keeps its keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    pub team: Option<String>,
    pub slug: Option<String>,
    pub kms: Option<String>,
}

impl PhalaCloud {
    /// Creates a replica. Nothing of this is tried again: after every error but a clear refusal it
    /// may exist.
    pub async fn create_replica(
        &self,
        source: &SourceCvm,
        body: &Value,
    ) -> Result<Created, PhalaError> {
        const CALL: &str = "create replica";
        let request = self.post(&["cvms", &dashed(source), "replicas"], body);
        let vm = expect_success(&self.exchange(CALL, request).await?)?;
        let instance = Instance::read(&vm).map_err(|error| PhalaError::malformed(CALL, &error))?;
        Ok(Created { instance, vm })
    }

    /// Deletes an instance. One that is not there any more is as good as deleted.
    pub async fn delete_instance(&self, id: &ReplicaId) -> Result<(), PhalaError> {
        let request = self.request(Method::DELETE, &["cvms", id.as_str()]);
        let answer = self.exchange("delete instance", request).await?;
        if answer.is_success() || answer.status == 404 { Ok(()) } else { Err(answer.refused(None)) }
    }

    /// Team and KMS of a CVM.
    pub async fn surroundings(&self, id: &SourceCvm) -> Result<Surroundings, PhalaError> {
        let value = self.get("read CVM", &["cvms", id.canonical().as_str()]).await?;
        let fields = Fields(&value);
        Ok(Surroundings {
            team: fields.text(&["/workspace/name"]),
            slug: fields.text(&["/workspace/slug"]),
            kms: fields.text(&["/kms_type"]),
        })
    }
}
