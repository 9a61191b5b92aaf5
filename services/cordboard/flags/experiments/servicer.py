"""ExperimentService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.core.caller import current_caller
from cordboard.core.paging import Paging
from cordboard.flags.experiments.messages import experiment_message, key_of, plan_of, subject_message
from cordboard.flags.flags import Cause
from cordboard.flags.messages import key_after
from cordboard.flags.v1 import experiment_service_pb2 as pb
from cordboard.flags.v1.experiment_service_pb2_grpc import ExperimentServiceServicer

if TYPE_CHECKING:
    from cordboard.flags.experiments.experiments import Experiments
    from cordboard.flags.experiments.store import ExperimentRecord


class ExperimentServicer(ExperimentServiceServicer):
    """Serves experiments."""

    def __init__(self, experiments: Experiments) -> None:
        """Takes the experiments."""
        self._experiments = experiments

    async def StartExperiment(self, request: pb.StartExperimentRequest, _context: Any) -> pb.Experiment:
        wanted = request.experiment
        key, plan = key_of(wanted.name, "experiment.name"), plan_of(wanted)
        return experiment_message(await self._experiments.start(key, plan, cause=_cause(request.reason)))

    async def GetExperiment(self, request: pb.GetExperimentRequest, _context: Any) -> pb.Experiment:
        return await self._whole(await self._experiments.experiment(key_of(request.name)))

    async def ListExperiments(self, request: pb.ListExperimentsRequest, _context: Any) -> pb.ListExperimentsResponse:
        paging = Paging.of(request)
        found = await self._experiments.experiments(after=key_after(paging.after), limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].key) if len(found) > len(page) else ""
        return pb.ListExperimentsResponse(experiments=map(experiment_message, page), next_page_token=token)

    async def StopExperiment(self, request: pb.StopExperimentRequest, _context: Any) -> pb.Experiment:
        return await self._whole(await self._experiments.stop(key_of(request.name), cause=_cause(request.reason)))

    async def ListExperimentSubjects(
        self, request: pb.ListExperimentSubjectsRequest, _context: Any
    ) -> pb.ListExperimentSubjectsResponse:
        paging = Paging.of(request)
        record = await self._experiments.experiment(key_of(request.parent, "parent"))
        found = await self._experiments.subjects(record.key, after=paging.after, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].workspace) if len(found) > len(page) else ""
        rows = [subject_message(record, each) for each in page]
        return pb.ListExperimentSubjectsResponse(experiment_subjects=rows, next_page_token=token)

    async def _whole(self, record: ExperimentRecord) -> pb.Experiment:
        waits = record.stop_time is None and await self._experiments.waits(record)
        return experiment_message(record, waits=waits, results=await self._experiments.results(record))


def _cause(why: str) -> Cause:
    return Cause(current_caller().actor, why)
