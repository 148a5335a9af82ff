"""The SDKs beside chat: text completions, embeddings, pictures, sound and moderations."""

import base64
import math
import unittest

import openai
from callers import PNG
from common import *
from google import genai
from google.genai import errors, types

WORDS = "The toll is paid."
SOUND = ("toll.mp3", b"ID3\x04\x00\xff\xfb\r\n--\r\n", "audio/mpeg")
PICTURE = ("dot.png", PNG, "image/png")


def client(key=KEY):
    return openai.OpenAI(api_key=key, base_url=f"{URL}/v1", max_retries=0)


class OpenAI(unittest.TestCase):
    def create(self, api, **asked):
        """The parsed answer, or the events, of a call of this API, and the request's id."""
        response = api.with_raw_response.create(model=MODEL, **asked)
        return response.parse(), response.headers["x-request-id"]

    def test_completion(self):
        answer, request = self.create(client().completions, prompt=SAY, max_tokens=100)
        self.assertEqual((answer.choices[0].text, answer.choices[0].finish_reason), (SAID, "stop"))
        record(self, request, answer.usage.prompt_tokens, answer.usage.completion_tokens)

    def test_completion_streamed(self):
        chunks, request = self.create(
            client().completions, prompt=SAY, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(chunks)
        self.assertEqual("".join(choice.text for chunk in chunks for choice in chunk.choices), SAID)
        record(self, request, chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)
        unasked, _ = self.create(client().completions, prompt=SAY, stream=True)
        self.assertTrue(all(chunk.choices and not chunk.usage for chunk in unasked))

    def test_embeddings(self):
        answer, request = self.create(client().embeddings, input=["a", "b"], dimensions=3)
        self.assertEqual([each.embedding for each in answer.data], [[0.125] * 3] * 2)
        book(self, request, answer.usage.prompt_tokens)

    def test_moderation(self):
        answer, request = self.create(client().moderations, input=WORDS)
        self.assertIs(answer.results[0].flagged, False)
        book(self, request, 0)

    def test_pictures(self):
        for what, call, more in [
            ("generate", client().images.with_raw_response.generate, {}),
            ("edit", client().images.with_raw_response.edit, {"image": PICTURE}),
            ("edit of two", client().images.with_raw_response.edit, {"image": [PICTURE, PICTURE], "n": 2}),
        ]:
            with self.subTest(what):
                response = call(model=MODEL, prompt="a toll house", **more)
                answer = response.parse()
                self.assertEqual([base64.b64decode(each.b64_json) for each in answer.data], [PNG] * more.get("n", 1))
                record(self, response.headers["x-request-id"], answer.usage.input_tokens, answer.usage.output_tokens)

    def test_pictures_streamed(self):
        for what, call, more in [
            ("image_generation", client().images.with_raw_response.generate, {}),
            ("image_edit", client().images.with_raw_response.edit, {"image": PICTURE}),
        ]:
            with self.subTest(what):
                response = call(model=MODEL, prompt="a toll house", stream=True, partial_images=1, **more)
                events = list(response.parse())
                self.assertEqual([event.type for event in events], [f"{what}.partial_image", f"{what}.completed"])
                usage = events[-1].usage
                record(self, response.headers["x-request-id"], usage.input_tokens, usage.output_tokens)

    def test_speech(self):
        answer, request = self.create(client().audio.speech, voice="alloy", input=WORDS)
        self.assertTrue(answer.content.startswith(b"ID3") and answer.content.endswith(WORDS.encode()))
        book(self, request, math.ceil(len(WORDS) / 4))

    def test_transcription(self):
        answer, request = self.create(client().audio.transcriptions, file=SOUND, prompt=SAY)
        self.assertEqual(answer.text, SAID)
        record(self, request, answer.usage.input_tokens, answer.usage.output_tokens)
        # The upstream received the recording as it was sent, and its own name for the model.
        form = received("toll.mp3", 1)[-1]["body"]
        self.assertIn('name="model"\r\n\r\nmock-model-upstream\r\n', form)

    def test_transcription_streamed(self):
        events, request = self.create(client().audio.transcriptions, file=SOUND, prompt=SAY, stream=True)
        events = list(events)
        deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
        self.assertEqual(("".join(deltas), events[-1].text), (SAID, SAID))
        record(self, request, events[-1].usage.input_tokens, events[-1].usage.output_tokens)

    def test_subtitles_and_translation(self):
        answer, request = self.create(client().audio.transcriptions, file=SOUND, prompt=SAY, response_format="srt")
        self.assertTrue(answer.startswith("1\n") and SAID in answer, answer)
        book(self, request, 0)
        answer, request = self.create(client().audio.translations, file=SOUND, prompt=SAY)
        self.assertEqual(answer.text, SAID)

    def calls(self, key, model, text):
        """A call of each route."""
        caller, named = client(key), {"model": model}
        return {
            "completions": lambda: caller.completions.create(prompt=text, **named),
            "embeddings": lambda: caller.embeddings.create(input=text, **named),
            "moderations": lambda: caller.moderations.create(input=text, **named),
            "images": lambda: caller.images.generate(prompt=text, **named),
            "streamed images": lambda: list(caller.images.generate(prompt=text, stream=True, **named)),
            "edits": lambda: caller.images.edit(prompt=text, image=PICTURE, **named),
            "speech": lambda: caller.audio.speech.create(input=text, voice="alloy", **named),
            "transcriptions": lambda: caller.audio.transcriptions.create(prompt=text, file=SOUND, **named),
            "translations": lambda: caller.audio.translations.create(prompt=text, file=SOUND, **named),
        }

    def test_errors(self):
        for expected, words, key, model, text in [
            (openai.AuthenticationError, (401, "invalid_api_key"), BAD_KEY, MODEL, WORDS),
            (openai.NotFoundError, (404, "model_not_found"), KEY, UNKNOWN, WORDS),
        ]:
            for route, call in self.calls(key, model, text).items():
                with self.subTest(f"{route}: {words}"):
                    with self.assertRaises(expected) as raised:
                        call()
                    self.assertEqual((raised.exception.status_code, raised.exception.code), words)

    def test_an_upstreams_error(self):
        # The free model's price is no price where the price of a request is the bill: the others ask for a priced one.
        calls = self.calls(KEY, LIMITED, RATE_LIMITED)
        for route in ("completions", "embeddings", "moderations", "images", "transcriptions"):
            with self.subTest(route), self.assertRaises(openai.RateLimitError) as raised:
                calls[route]()
            self.assertIn(int(raised.exception.response.headers["retry-after"]), range(1, RETRY_AFTER_S + 1))


class Google(unittest.TestCase):
    def setUp(self):
        self.client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=URL))

    def test_embedding(self):
        answer = self.client.models.embed_content(
            model=MODEL, contents=WORDS, config=types.EmbedContentConfig(output_dimensionality=3)
        )
        self.assertEqual([each.values for each in answer.embeddings], [[0.125] * 3])
        book(self, answer.sdk_http_response.headers["x-request-id"], None)

    def test_unknown_model(self):
        with self.assertRaises(errors.ClientError) as raised:
            self.client.models.embed_content(model=UNKNOWN, contents=WORDS)
        self.assertEqual((raised.exception.code, raised.exception.status), (404, "NOT_FOUND"))
