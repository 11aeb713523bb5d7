//! Takes a topic that Apache Kafka wrote over into a running broker.

use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::Broker;
use super::core::{Core, ProposeError, now};
use super::topics;
use crate::config::topic_config;
use crate::controller::Command;
use crate::storage::{ImportError, ImportPlan, StorageError};

/// Why a topic was not imported; nothing of it is left here then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportTopicError {
    /// The source cannot be taken over.
    #[error(transparent)]
    Source(#[from] ImportError),
    /// A topic of that name, or with that id, exists.
    #[error("the topic {0} exists: import under another name, or delete it first")]
    Exists(String),
    /// The topic is the broker's own.
    #[error("{0} is a topic of the broker itself")]
    Internal(String),
    /// A topic setting is not understood.
    #[error(transparent)]
    Config(#[from] crate::storage::LogConfigError),
    /// The metadata did not take it.
    #[error("the topic could not be created: {0}")]
    Metadata(String),
}

/// What was imported.
#[derive(Debug, Clone)]
pub struct ImportedTopic {
    /// The topic's name here.
    pub topic: String,
    /// Its id: that of the source where it had one that is not taken.
    pub topic_id: Uuid,
    /// What was read of the source.
    pub plan: ImportPlan,
}

impl Broker {
    /// Takes over a topic from the folders Apache Kafka wrote: `source` is a partition's folder
    /// (`orders-0`) or a log directory, of which `topic` says which topic. It gets the name `name`
    /// here (that of the source without) and the settings given.
    ///
    /// # Errors
    /// [`ImportTopicError`]; then nothing was changed.
    pub async fn import_topic(
        &self,
        source: &Path,
        topic: Option<&str>,
        name: Option<&str>,
        configs: Vec<(String, String)>,
    ) -> Result<ImportedTopic, ImportTopicError> {
        let core = Arc::clone(&self.core);
        let (source, topic) = (source.to_path_buf(), topic.map(str::to_owned));
        let read = move || ImportPlan::read(&source, topic.as_deref());
        let plan = blocking(&core, read).await??;
        let name = name.unwrap_or(&plan.topic).to_owned();
        if topics::is_internal(&name) {
            return Err(ImportTopicError::Internal(name));
        }
        let image = core.image();
        if image.topic(&name).is_some() {
            return Err(ImportTopicError::Exists(name));
        }
        let free = |id: &Uuid| !id.is_nil() && image.topic_by_id(*id).is_none();
        let id = plan.topic_id.filter(free).unwrap_or_else(Uuid::new_v4);
        let overrides = configs.iter().cloned().collect();
        let config = topic_config(&core.live(), Some(&overrides))?;
        let (logs, copied, to) = (Arc::clone(&core.logs), plan.clone(), name.clone());
        let run = move || copied.run(&logs, &to, id, &config, now()).map(drop);
        blocking(&core, run).await??;
        let command = Command::CreateTopic {
            name: name.clone(),
            id,
            assignment: vec![vec![core.node_id()]; plan.partitions.len()],
            configs,
        };
        if let Err(error) = core.propose(command).await {
            let (logs, topic, count) = (Arc::clone(&core.logs), name, plan.partitions.len());
            blocking(&core, move || {
                for partition in (0..).take(count) {
                    if let Err(error) = logs.delete(&topic, partition) {
                        tracing::warn!(%error, "what was imported could not be removed");
                    }
                }
            })
            .await?;
            return Err(ImportTopicError::Metadata(match error {
                ProposeError::Refused(refusal) => refusal.to_string(),
                ProposeError::Quorum(error) => error.to_string(),
            }));
        }
        Ok(ImportedTopic {
            topic: name,
            topic_id: id,
            plan,
        })
    }
}

async fn blocking<T: Send + 'static>(
    core: &Arc<Core>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ImportTopicError> {
    let done = core.runtime.spawn_blocking(work).await;
    done.map_err(|e| {
        let source = std::io::Error::other(e);
        let path = core.settings.data_dir.clone();
        ImportTopicError::Source(ImportError::Storage(StorageError::NotWritable {
            path,
            source,
        }))
    })
}
