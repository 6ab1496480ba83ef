// The smallest program that uses libdgemma: loads a model folder, asks one question, prints the answer.
// README.md beside it has the line that compiles it.
#include <cstdio>
#include <memory>
#include <utility>

#include "dgemma/dgemma.h"

namespace {

int Fail(const dgemma::Status& status) {
  std::fprintf(stderr, "error: %s\n", status.message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: minimal MODEL_FOLDER PROMPT (dgemma %s)\n", dgemma::Version());
    return 2;
  }
  dgemma::Result<std::unique_ptr<dgemma::Engine>> engine = dgemma::Engine::Load(argv[1]);
  if (!engine) return Fail(engine.error());
  dgemma::Result<std::unique_ptr<dgemma::Session>> session = (*engine)->NewSession();
  if (!session) return Fail(session.error());

  dgemma::ChatTurn turn;
  turn.role = "user";
  turn.text = argv[2];
  dgemma::Request request;
  request.chat.push_back(std::move(turn));
  request.options = (*engine)->Defaults();
  const dgemma::Result<dgemma::Answer> answer = (*session)->Generate(request);
  if (!answer) return Fail(answer.error());
  std::printf("%s\n", answer->text.c_str());
}
