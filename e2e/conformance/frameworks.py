langchain = ai_sdk = None
