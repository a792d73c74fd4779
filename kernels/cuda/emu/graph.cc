/* graph - work of a stream that is captured, and launched as a graph, of the runtime API */
#include "kernels/cuda/emu/emu.h"

struct emu_graph_exec {
	std::vector<std::function<void()>> work;
};

static int64_t graph_launches;

int64_t emu_graph_launches(void)
{
	return graph_launches;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
	struct emu_graph **capture;
	cudaError_t error = emu_capture(stream, &capture);
	if (error)
		return error;
	if (*capture)
		return emu_error(cudaErrorStreamCaptureUnsupported);
	*capture = new struct emu_graph();
	return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
	struct emu_graph **capture;
	cudaError_t error = emu_capture(stream, &capture);
	*graph = NULL;
	if (error)
		return error;
	struct emu_graph *captured = *capture;
	*capture = NULL;
	if (captured && !captured->broken) {
		*graph = captured;
		return cudaSuccess;
	}
	delete captured;
	return emu_error(cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	if (!error) {
		*exec = new emu_graph_exec();
		(*exec)->work = graph->work;
	}
	return error;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
	struct emu_graph **capture;
	cudaError_t error = emu_capture(stream, &capture);
	if (error)
		return error;
	graph_launches++;
	for (const std::function<void()> &work : exec->work)
		emu_queue(stream, work);
	return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	delete graph;
	return error;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
	cudaError_t error = emu_enter(cudaErrorUnknown);
	delete exec;
	return error;
}
